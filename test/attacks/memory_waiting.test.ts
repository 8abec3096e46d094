/**
 * Tokens whose claims or headers are tens of thousands of objects, while their issuer's keys are slow to come:
 * a gate with a small heap lives through many of them at once, and each is told what there is to tell.
 */
import { describe, expect, it, onTestFinished } from 'vitest'
import { part } from '../support/forge.ts'
import { writeConfig } from '../support/serve.ts'
import { MAIN, start } from '../support/tools.ts'
import { JWT_OPTION, openPlain, password, startup } from '../support/wire_client.ts'
import { battlefield, JWT, realNode, USER } from './attempt.ts'

const field = battlefield()
const CLIENTS = 120
const HEAP_MIB = 128
const OBJECTS = `[${Array(30_000).fill('{}').join()}]`

describe('5.8 claims that are work', () => {
  it.each<[string, (issuer: string) => string]>([
    [
      'claims',
      (iss) =>
        `${part({ alg: 'ES256', kid: 'x' })}.${part(`{"iss":"${iss}","x":${OBJECTS}}`)}.AAAA`,
    ],
    [
      'a header',
      (iss) => `${part(`{"alg":"ES256","kid":"x","x":${OBJECTS}}`)}.${part({ iss })}.AAAA`,
    ],
    ['a key id', (iss) => `${part(`{"alg":"ES256","kid":${OBJECTS}}`)}.${part({ iss })}.AAAA`],
  ])('%s of thirty thousand objects wait for an issuer in bounded memory', async (_, make) => {
    const issuer = await field.issuer()
    issuer.jwks.hang = true
    const files = await writeConfig({
      node: realNode(),
      listener: { allow_plaintext: true },
      cluster: {
        [`${JWT}.issuers.configuration`]: [issuer.issuer],
        [`${JWT}.jwks_auto_fetch.enabled`]: true,
        [`${JWT}.issuers.custom_ca`]: issuer.caPem,
        [`${JWT}.client.timeout`]: '3s',
      },
    })
    const heap = `--max-old-space-size=${HEAP_MIB}`
    const gate = start(process.execPath, [heap, MAIN, 'serve', '--config', files.configFile])
    onTestFinished(async () => {
      gate.child.kill('SIGKILL')
      await gate.ended
    })
    const opened = await gate.until(/"the gate is open"/)
    const port = Number(/"host":"127\.0\.0\.1","port":(\d+)/.exec(opened)?.[1])
    const packet = password(make(issuer.issuer))
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        const client = await openPlain({ host: '127.0.0.1', port })
        client.write(startup({ ...JWT_OPTION, ...USER }))
        await client.until('R')
        return client
      }),
    )
    for (const client of clients) client.write(packet)
    const answers = await Promise.all(clients.map((client) => client.until('E')))
    for (const client of clients) client.close()
    expect(answers).toHaveLength(CLIENTS)
    expect(gate.child.exitCode).toBe(null)
  })
})
