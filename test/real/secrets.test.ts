/**
 * The configuration's secrets, in a gate with worker processes that logs all that it can: they are used,
 * and nobody who looks at the gate sees them, when it reads its file again and finds it broken neither.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { comeIn, pidsOf } from '../support/on_workers.ts'
import { scramScript } from '../support/scram_node.ts'
import { startScriptedNode } from '../support/scripted_node.ts'
import { startServe } from '../support/serve.ts'
import { openTls, refusalOf, signIn, type WireClient } from '../support/wire_client.ts'

const SECRETS = { maxroach: 'written-in-the-file-9f2c', carl: 'in-a-file-of-its-own-77ab' }
const LATER = '31415926535897'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

it('are in no line, no argument and no environment of any of its processes', async () => {
  const node = await startScriptedNode(
    scramScript({ passwords: { ...SECRETS, carl: 'another, that the node has' } }),
  )
  closing.push(node.close)
  const secrets = { maxroach: SECRETS.maxroach, carl: { file: 'carl.secret' } }
  const gate = await startServe(
    {
      node: node.address,
      cluster: { sign_in: 'scram', scram: { secrets } },
      files: { 'carl.secret': SECRETS.carl },
    },
    { workers: 2 },
  )
  closing.push(() => gate.child.kill('SIGKILL'))
  const clients: WireClient[] = []
  closing.push(() => clients.map((client) => client.close()))
  await comeIn(gate, clients)
  const carl = await openTls(gate.port, gate.caPem)
  clients.push(carl)
  const refused = await signIn(carl, { user: 'carl' }, await gate.token('carl'))
  expect(refusalOf(refused)).toMatchObject({ C: '28P01' })

  const good = await readFile(gate.configFile, 'utf8')
  const broken = [
    good.replace(`"${SECRETS.maxroach}"`, LATER),
    good.replace('"secrets":', '"secret":'),
    good.slice(0, good.indexOf(SECRETS.maxroach) + SECRETS.maxroach.length),
    good.replace(`"${SECRETS.maxroach}"`, `"${SECRETS.maxroach}" "${LATER}"`),
  ]
  for (const [at, text] of broken.entries()) {
    const kept = () => gate.said().split('the configuration in use is kept').length - 1
    const before = kept()
    expect(text, `${at}`).not.toBe(good)
    await writeFile(gate.configFile, text)
    gate.child.kill('SIGHUP')
    await expect.poll(kept, { timeout: 10_000 }).toBeGreaterThan(before)
  }
  await writeFile(gate.configFile, good)
  gate.child.kill('SIGHUP')
  await gate.until('the configuration was read again')
  await comeIn(gate, clients)

  const processes = [gate.child.pid ?? 0, ...pidsOf(gate).values()]
  expect(processes).toHaveLength(3)
  const seen = await Promise.all(
    processes.flatMap((pid) =>
      ['cmdline', 'environ'].map((name) => readFile(join('/proc', `${pid}`, name), 'utf8')),
    ),
  )
  gate.child.kill('SIGTERM')
  const { code, stdout, stderr } = await gate.ended
  expect(code).toBe(0)
  const everything = [stdout, stderr, await gate.auditText(), ...seen].join('\n')
  expect(everything).toContain('client_authentication_failed')
  for (const secret of [...Object.values(SECRETS), LATER])
    expect(everything.includes(secret), secret).toBe(false)
}, 60_000)
