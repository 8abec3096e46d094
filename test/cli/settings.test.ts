/** `postern settings`, as far as nobody has to be asked. With gates: test/real/console_shared.test.ts. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runIn } from '../support/world.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-settings-'))
  const main = { kind: 'postgresql', nodes: [{ address: join(dir, 'nobody') }], sign_in: 'peer' }
  const file = {
    listeners: [{ address: '127.0.0.1:0', allow_plaintext: true }],
    clusters: { main },
  }
  await writeFile(join(dir, 'one.yaml'), JSON.stringify({ ...file, state: { cluster: 'main' } }))
  await writeFile(join(dir, 'stateless.yaml'), JSON.stringify(file))
})
afterAll(() => rm(dir, { recursive: true }))

const settings = (...args: string[]) =>
  runIn(dir, ['settings', ...args], { stop: new AbortController().signal })

it.each<[string[], number, string]>([
  [['reset', '--config', 'one.yaml'], 64, "missing required argument 'name'"],
  [['reset', 'x'], 64, "required option '--config <file>' not specified"],
  [['set', 'x', '1'], 64, "unknown command 'set'"],
  [['list', '--config', 'stateless.yaml'], 64, 'the configuration has no state'],
  [['reset', 'x', '--config', 'stateless.yaml'], 64, 'the configuration has no state'],
  [['list', '--config', 'one.yaml'], 1, 'as postern_state in the database postern_state: '],
])('%j: exit %i', async (args, code, says) => {
  expect(await settings(...args)).toEqual({
    code,
    stdout: '',
    stderr: expect.stringContaining(says),
  })
})

it('has examples in its help', async () => {
  const { stdout } = await settings('--help')
  expect(stdout).toContain('$ postern settings reset limits.connections --config postern.yaml')
})
