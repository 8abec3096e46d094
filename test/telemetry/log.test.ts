/** The log when nobody takes what it writes. */
import { expect, it } from 'vitest'
import { openLog, openLogStream } from '../../src/telemetry/log.ts'

it('the log loses lines and goes on', async () => {
  const log = openLog(openLogStream('/dev/full'), 'info', Date.now)
  for (let line = 0; line < 1_000; line++) log.info('nobody reads this')
  await new Promise((resolve) => setTimeout(resolve, 50))
  log.info('and the gate goes on')
})

it('says what is wrong with a file', () => {
  expect(() => openLogStream('/nowhere/postern.log')).toThrow('cannot write to')
})
