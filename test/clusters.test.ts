/** What of a cluster goes on when the configuration is read again, and what is shared out between workers. */
import { afterEach, expect, it } from 'vitest'
import { openClusters } from '../src/clusters.ts'
import { parseConfig } from '../src/config/config.ts'
import { openLog } from '../src/telemetry/log.ts'
import { gateConfig } from './support/gate.ts'
import { makeKey } from './support/tokens.ts'

const key = await makeKey('test-key')
const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

function configOf(cluster: Record<string, unknown>) {
  const listener = { tls: undefined, allow_plaintext: true }
  const text = JSON.stringify(gateConfig({ node: '127.0.0.1:1', cluster, listener }, key))
  return parseConfig('/etc/postern/postern.yaml', text, {
    env: () => undefined,
    fileMode: () => 0o600,
    now: () => 0,
    readFile: () => '',
  })
}

function open(workers: number) {
  const clusters = openClusters(configOf({}), {
    workers,
    now: () => 0,
    log: openLog({ write: () => undefined }, 'error', () => 0),
    count: () => undefined,
    elapsed: () => 0,
  })
  closing.push(clusters.close)
  return clusters
}

it('clients without a token have the room of the cluster of that name, whatever it becomes', () => {
  const clusters = open(1)
  const before = clusters.open().get('test')
  clusters.renew(configOf({ connect_timeout: '9s' }))
  const after = clusters.open().get('test')
  expect(after).not.toBe(before)
  expect(after?.passages).toBe(before?.passages)
})

it('clients without a token have a share of the room in each worker', async () => {
  const passages = open(8).open().get('test')?.passages
  const begun: string[] = []
  const login = new AbortController()
  const come = async (address: string) =>
    await passages?.take(address, login.signal, async () => {
      begun.push(address)
      await new Promise(() => undefined)
    })
  const all = ['192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.3'].map(come)
  const ended = Promise.allSettled(all.filter((_, at) => at === 1 || at === 3))
  await expect.poll(() => begun.length).toBe(2)
  login.abort(new Error('over'))
  expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(begun).toEqual(['192.0.2.1', '192.0.2.2'])
})
