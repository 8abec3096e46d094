/** `postern access`, as far as nobody has to be asked: what it refuses, and its help. With gates: test/real/access.test.ts. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runIn } from '../support/world.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-access-'))
  const cluster = { kind: 'postgresql', nodes: [{ address: join(dir, 'nobody') }], sign_in: 'peer' }
  const listeners = [{ address: '127.0.0.1:0', allow_plaintext: true }]
  const [one, two] = [{ main: cluster }, { main: cluster, spare: cluster }]
  const write = (name: string, clusters: object, state?: object) =>
    writeFile(join(dir, name), JSON.stringify({ listeners, clusters, state }))
  await write('one.yaml', one, { cluster: 'main' })
  await write('two.yaml', two, { cluster: 'main' })
  await write('stateless.yaml', one)
})
afterAll(() => rm(dir, { recursive: true }))

const access = (args: string[], config = 'one.yaml') =>
  runIn(dir, ['access', ...args, '--config', join(dir, config)], {
    stop: new AbortController().signal,
    now: () => Date.UTC(2026, 10, 23),
  })

describe('is refused before anybody is asked', () => {
  it.each<[string[], string]>([
    [['deny'], 'say either a network, which is denied everywhere, or --cluster'],
    [['deny', '10.0.0.1', '--cluster', 'main'], 'say either a network'],
    [['deny', '10.0.0.0/33'], '"10.0.0.0/33" is not a network; write one like 10.0.0.0/8'],
    [['deny', 'somewhere'], '"somewhere" is not a network'],
    [['deny', '--cluster', 'old'], 'there is no cluster old in this configuration; there is main'],
    [['deny', '--cluster', ''], 'write a name'],
    [['deny', '10.0.0.1', '--until', '2026-11-22'], '--until 2026-11-22T00:00:00Z is over already'],
    [['deny', '10.0.0.1', '--until', 'now'], '--until 2026-11-23T00:00:00Z is over already'],
    [['deny', '10.0.0.1', '--until', 'soon'], 'write a time like'],
    [['deny', '10.0.0.1', '10.0.0.2'], 'too many arguments'],
    [['deny', '10.0.0.1', '--nobody'], "unknown option '--nobody'"],
    [['allow', '--cluster', 'main'], 'say either a network, or --nobody'],
    [['allow', '10.0.0.1', '--nobody'], 'say either a network, or --nobody'],
    [['allow', '10.0.0.1', '--cluster', 'mian'], 'there is no cluster mian'],
    [['allow', '10.0.0.1', '--everybody'], "unknown option '--everybody'"],
    [['remove', 'deny'], 'say either a network'],
    [['remove', 'allow', '10.0.0.0/x'], 'is not a network'],
    [['remove', '10.0.0.1'], "unknown command '10.0.0.1'"],
  ])('%j', async (args, says) => {
    const { code, stdout, stderr } = await access(args)
    expect([code, stdout, stderr]).toEqual([64, '', expect.stringContaining(says)])
  })

  it('an allowlist of no cluster, where there are several', async () => {
    const { code, stderr } = await access(['allow', '10.0.0.1'], 'two.yaml')
    expect([code, stderr]).toEqual([64, expect.stringContaining('--cluster: main, spare')])
  })

  it('whatever it is, without a state', async () => {
    for (const args of [['deny', '10.0.0.1'], ['remove', 'deny', '10.0.0.1'], ['list']]) {
      const { code, stderr } = await access(args, 'stateless.yaml')
      expect([code, stderr]).toEqual([
        64,
        expect.stringContaining('the configuration has no state'),
      ])
    }
  })
})

it('says which state it could not have', async () => {
  const { code, stderr } = await access(['deny', '10.0.0.1'])
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining('as postern_state in the database postern_state: '),
  ])
})

it('has examples in its help', async () => {
  const { code, stdout } = await runIn(dir, ['access', '--help'])
  expect(code).toBe(0)
  expect(stdout).toContain('$ postern access deny 203.0.113.0/24')
  expect(stdout).toContain('$ postern access allow --cluster main --nobody')
  expect((await runIn(dir, ['access', 'remove', 'allow', '--help'])).stdout).toContain(
    '--everybody',
  )
})
