/** The two streams when nobody takes what they write: the audit says so, the log doesn't mind. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openAudit, openAuditStream, openLog, openLogStream } from '../../src/telemetry/log.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-log-'))
afterAll(() => rmSync(dir, { recursive: true }))

const FULL = '/dev/full'

describe('the audit stream', () => {
  it('has a line in the file when it is written, for its owner alone', () => {
    const path = join(dir, 'audit.log')
    const audit = openAudit(openAuditStream(path), () => 1_700_000_000_000)
    audit(7, { EventType: 'client_session_end' } as never)
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      channel: 'SESSIONS',
      Timestamp: 1_700_000_000_000_000_000,
      InstanceID: 7,
      EventType: 'client_session_end',
    })
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  it('has one line an event, whatever a client sent, and every digit of the time', () => {
    const lines: string[] = []
    const audit = openAudit({ write: (line) => void lines.push(line) }, () => 1_700_000_000_123)
    audit(7, { User: 'a"\n\0\u2028\u009b\u202e', Tls: null, Token: { names: ['é'] } } as never)
    const head = '{"channel":"SESSIONS","Timestamp":1700000000123000000,"InstanceID":7,'
    const rest =
      '"User":"a\\"\\n\\u0000\\u2028\\u009b\\u202e","Tls":null,"Token":{"names":["é"]}}\n'
    expect(lines).toEqual([head + rest])
  })

  it('throws where a line cannot be written', () => {
    expect(() => openAuditStream(FULL).write('line\n')).toThrow('ENOSPC')
  })

  it('says what is wrong with a file', () => {
    expect(() => openAuditStream(join(dir, 'nowhere', 'audit.log'))).toThrow('cannot write to')
  })
})

it('the log loses lines and goes on', async () => {
  const log = openLog(openLogStream(FULL), 'info', Date.now)
  for (let line = 0; line < 1_000; line++) log.info('nobody reads this')
  await new Promise((resolve) => setTimeout(resolve, 50))
  log.info('and the gate goes on')
})
