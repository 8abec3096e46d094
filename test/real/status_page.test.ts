/** The status page of a gate in processes of its own: what all of its workers tell, and a reload. */
import { readFile, writeFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { onEachWorker } from '../support/on_workers.ts'
import { getAs, textOf } from '../support/ops_page.ts'
import { startServe } from '../support/serve.ts'
import { sharedPostgres } from '../support/shared_postgres.ts'
import type { WireClient } from '../support/wire_client.ts'

const { node } = sharedPostgres('defaultdb')

it('adds up what its workers tell, and goes by other names after a reload', async () => {
  const gate = await startServe({ node }, { workers: 2 })
  const look = async () => textOf((await getAs(gate.opsPort, '/')).text)
  await expect.poll(look).toContain('Workers 2 open')
  const clients: WireClient[] = []
  await onEachWorker(gate, clients, 2)
  const count = clients.length
  await expect.poll(look).toContain(`Sessions ${count} on ${count} connections`)
  await expect.poll(look).toContain(`Signed in, last hour ${count}`)
  const text = await look()
  expect(text).toContain(`${node} test up ${count}`)
  expect(text).toMatch(/Waited for client .* issuer .* node .* gate itself /)
  expect(text).toContain(`On Node.js ${process.versions.node}`)
  expect(text).toContain('Nothing needs a look')

  const named = () => getAs(gate.opsPort, '/', 'gate.example.com').then(({ status }) => status)
  expect(await named()).toBe(FAILURES.unknown_host.http)
  const config = JSON.parse(await readFile(gate.configFile, 'utf8'))
  config.ops.hosts = ['gate.example.com']
  await writeFile(gate.configFile, JSON.stringify(config))
  await expect.poll(named, { timeout: 10_000 }).toBe(200)
  expect(gate.said()).not.toContain('stays as it is')

  for (const client of clients) client.close()
  await expect.poll(look).toContain('Sessions 0 on 0 connections')
  gate.child.kill('SIGTERM')
  expect((await gate.ended).code).toBe(0)
})
