/**
 * What another gate tells, over its real door: whoever has a gate's certificate may say anything, and nothing
 * but a cancel of the right form is looked for.
 */
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { isIP } from 'node:net'
import fc from 'fast-check'
import { makeCa } from '../../src/dev/certificates.ts'
import { PEERS_SAY } from '../../src/failure.ts'
import { leafOf, peersConfig, startOtherGate } from '../support/other_gates.ts'
import { addressText, anyJson, bytes, jsonText, nearly, oddText } from './made_up.ts'
import { HEAVY, must, mustEqual, sharing, type Target } from './target.ts'

const DEADLINE_MS = 5_000

const key = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(8, 8, 36, 7, 35, 37)
      .chain((size) => fc.uint8Array({ minLength: size, maxLength: size }))
      .map((all) => Buffer.from(all).toString('base64url')),
  },
  { weight: 1, arbitrary: fc.oneof(oddText, fc.constantFrom('!'.repeat(11), 'A'.repeat(11))) },
)
const right = fc.record(
  { key, from: fc.oneof(addressText, oddText), hop: fc.constant(1) },
  { requiredKeys: ['key', 'from'] },
)
const member = fc.constantFrom('key', 'from', 'key', 'from', 'constructor')
const body = fc.oneof(
  { weight: 6, arbitrary: right.map((value) => Buffer.from(JSON.stringify(value))) },
  { weight: 3, arbitrary: nearly(right.map((value) => Buffer.from(JSON.stringify(value)))) },
  {
    weight: 1,
    arbitrary: anyJson(['key', 'from']).map((value) => Buffer.from(JSON.stringify(value))),
  },
  { weight: 1, arbitrary: jsonText(['key', 'from']).map((text) => Buffer.from(text)) },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.tuple(member, key), { maxLength: 4 })
      .map((all) => all.map((pair) => pair.map((each) => JSON.stringify(each)).join(':')).join())
      .map((text) => Buffer.from(`{${text}}`)),
  },
  { weight: 1, arbitrary: bytes(60) },
)
const posted = fc.record({
  type: fc.constantFrom(
    'application/json',
    'application/json',
    'application/json; charset=x',
    'text/plain',
    '',
  ),
  path: fc.constantFrom('/cancel', '/cancel', '/cancel', '/cancel?a=b', '/'),
  body,
})
type Posted = typeof posted extends fc.Arbitrary<infer T> ? T : never

/** The cancel that it is, if it is one. */
function cancelOf({ type, path, body }: Posted): [key: string, from: string] | undefined {
  if (!type.startsWith('application/json') || !path.startsWith('/cancel')) return undefined
  let value: unknown
  try {
    value = JSON.parse(body.toString().replace(/^\ufeff/, ''))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { key, from, ...more } = value as Record<string, unknown>
  if (typeof key !== 'string' || typeof from !== 'string' || Object.keys(more).length > 0)
    return undefined
  if (!/^[\w-]+$/.test(key) || ![11, 48].includes(key.length) || from.length > 64) return undefined
  return [Buffer.from(key, 'base64url').toString('base64url'), isIP(from) > 0 ? from : '']
}

const cancels = sharing(
  'gates/cancel',
  async () => {
    const ca = await makeCa()
    const gate = await startOtherGate(peersConfig(ca, []), { found: async () => true })
    const options = { ...(await leafOf(ca, 'gate')), ca: ca.certPem, rejectUnauthorized: false }
    const agent = new Agent({ ...options, keepAlive: true, maxSockets: 1 })
    return {
      cases: posted,
      async judge(one) {
        const asked = request({
          ...{ host: '127.0.0.1', port: gate.port, method: 'POST', path: one.path, agent },
          headers: {
            ...(one.type !== '' && { 'content-type': one.type }),
            'content-length': one.body.length,
          },
          signal: AbortSignal.timeout(DEADLINE_MS),
        }).end(one.body)
        const [response] = await once(asked, 'response')
        await once(response.resume(), 'end')
        const [heard, expected] = [gate.heard.splice(0), cancelOf(one)]
        mustEqual(heard, expected === undefined ? [] : [expected], 'what is looked for')
        const { statusCode } = response
        must([PEERS_SAY.heard, 400, 404, 413, 415].includes(statusCode), 'the answer', statusCode)
        must(expected === undefined || statusCode === PEERS_SAY.heard, 'it was heard', statusCode)
        must(gate.log.length === 0, 'the log', gate.log.splice(0))
      },
      async close() {
        agent.destroy()
        await gate.close()
      },
    }
  },
  HEAVY,
)

export const gateTargets: Target[] = [cancels]
