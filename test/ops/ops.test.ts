/** The operators' door: what a probe and a scraper see. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FAILURES } from '../../src/failure.ts'
import { openOps } from '../../src/ops/ops.ts'
import { openMetrics } from '../../src/telemetry/metrics.ts'
import { startGate, type TestGate } from '../support/gate.ts'
import { type ScriptedNode, startScriptedNode } from '../support/scripted_node.ts'
import { calm } from '../support/status.ts'
import {
  cancelRequest,
  message,
  openPlain,
  openTls,
  query,
  signIn,
} from '../support/wire_client.ts'

describe('on a running gate', () => {
  let node: ScriptedNode
  let gate: TestGate
  beforeAll(async () => {
    node = await startScriptedNode()
    gate = await startGate({ node: node.address })
  })
  afterAll(async () => {
    await gate.close()
    await node.close()
  })

  const metric = async (line: string) => {
    const text = await (await fetch(`${gate.opsUrl}/metrics`)).text()
    return Number(
      text
        .split('\n')
        .find((each) => each.startsWith(`${line} `))
        ?.slice(line.length),
    )
  }

  it.each([
    ['/livez', 200, 'ok\n'],
    ['/readyz', 200, 'ok\n'],
  ])('%s says %i', async (path, status, text) => {
    const response = await fetch(gate.opsUrl + path)
    expect([response.status, await response.text()]).toEqual([status, text])
  })

  it('counts logins, sessions, bytes and cancels', async () => {
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user: 'maxroach' }, await gate.token('maxroach'))
    expect(await metric('postern_logins_total{result="ok"}')).toBe(1)
    expect(await metric('postern_sessions')).toBe(1)
    expect(await metric('postern_connections')).toBe(1)
    expect(await metric('postern_login_duration_seconds_count')).toBe(1)
    const refused = await openTls(gate.port, gate.caPem)
    await signIn(refused, { user: 'carl' }, await gate.token('maxroach'))
    expect(await metric('postern_logins_total{result="invalid_principal"}')).toBe(1)
    client.write(Buffer.concat([query('select 1'), message('X', '')]))
    client.socket.end()
    await gate.event('client_session_end')
    expect(await metric('postern_relayed_bytes_total{direction="to_node"}')).toBe(19)
    expect(await metric('postern_sessions')).toBe(0)
    await expect.poll(() => metric('postern_connections')).toBe(0)
    const cancel = await openPlain({ host: '127.0.0.1', port: gate.port })
    cancel.write(cancelRequest(Buffer.alloc(8)))
    expect(await cancel.next()).toBeUndefined()
    expect(await metric('postern_cancels_total{result="unknown"}')).toBe(1)
    expect(await metric('postern_build_info{version="0.0.0-test"}')).toBe(1)
  })
})

it('is not ready while the gate says so, and alive all the same', async () => {
  const parts = {
    metrics: openMetrics('0'),
    notReady: () => 'closing',
    status: () => calm(),
    hosts: () => [],
  }
  const door = await openOps({ host: '127.0.0.1', port: 0 }, parts)
  const get = (path: string) => fetch(`http://127.0.0.1:${door.port}${path}`)
  const ready = await get('/readyz')
  expect([ready.status, await ready.text()]).toEqual([FAILURES['not_ready'].http, 'closing\n'])
  expect((await get('/livez')).status).toBe(200)
  await expect(openOps({ host: '127.0.0.1', port: door.port }, parts)).rejects.toMatchObject({
    code: 'cannot_listen',
    message: expect.stringContaining('EADDRINUSE'),
  })
  await door.close()
})
