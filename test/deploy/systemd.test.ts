/** deploy/systemd: units that systemd understands, and a service that may do little. */
import { readFileSync } from 'node:fs'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { file } from '../../src/config/schema.ts'
import { describeWith, makeDirectory, ROOT, run } from '../support/tools.ts'

const UNITS = ['postern.service', 'postern.socket']
const read = (unit: string) => readFileSync(join(ROOT, 'deploy/systemd', unit), 'utf8')
const service = read('postern.service')
/** How much of the system it can reach, as systemd counts it: 10.0 is all. */
const EXPOSURE_MAX = 1.5

const settings = new Map(
  [...service.matchAll(/^(\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]),
)

/** The units, with a program that is there. */
async function installed(): Promise<string> {
  const dir = await makeDirectory()
  await writeFile(join(dir, 'postern'), '#!/bin/sh\n')
  await chmod(join(dir, 'postern'), 0o755)
  for (const unit of UNITS)
    await writeFile(join(dir, unit), read(unit).replace('/usr/bin/postern', join(dir, 'postern')))
  return dir
}

it('the service leaves no core dump, and has the time to end its sessions', () => {
  expect(settings.get('LimitCORE')).toBe('0')
  expect(settings.get('ExecStart')).toBe(
    '/usr/bin/postern serve --config /etc/postern/postern.yaml',
  )
  const { grace } = file.shape.shutdown.parse({})
  expect(Number.parseInt(settings.get('TimeoutStopSec') ?? '', 10) * 1_000).toBeGreaterThan(grace)
  // The workers are the gate's to end, and one that is too large ends alone.
  expect([settings.get('KillMode'), settings.get('OOMPolicy')]).toEqual(['mixed', 'continue'])
})

describeWith('systemd', 'systemd', () => {
  it.each(UNITS)('understands all of %s', async (unit) => {
    const dir = await installed()
    const args = ['verify', '--man=no', '--recursive-errors=no', join(dir, unit)]
    const { code, stdout, stderr } = await run('systemd-analyze', args)
    expect([code, stdout, stderr]).toEqual([0, '', ''])
  })

  it('counts the service among those that can do little', async () => {
    const dir = await installed()
    const threshold = `--threshold=${EXPOSURE_MAX * 10}`
    const args = ['security', '--offline=true', '--no-pager', threshold, join(dir, UNITS[0] ?? '')]
    const { code, stdout } = await run('systemd-analyze', args)
    expect([code, code === 0 ? '' : stdout]).toEqual([0, ''])
    expect(stdout).toMatch(/Overall exposure level for postern\.service: \d/)
  })
})
