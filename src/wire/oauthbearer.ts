/**
 * OAUTHBEARER (RFC 7628): a SASL mechanism of one response, which holds a bearer token (RFC 6750), and of
 * one challenge where it is refused, which tells the client where to get a better one.
 * Rule: whatever PostgreSQL 18 refuses of a response is refused, in texts that say nothing of its values.
 */
import { Failure } from '../failure.ts'
import { Secret } from '../secret.ts'

export const OAUTHBEARER = 'OAUTHBEARER'

/** What separates, and ends, the keys and values of a response. */
const KVSEP = '\x01'
/** RFC 5801: no channel binding, or none that the client thinks we have; and no other identity. */
const GS2_HEADERS = ['n,,', 'y,,']
const KEY = /^[A-Za-z]+$/
/** Visible ASCII, and white space. */
const VALUE = /^[\t\n\r -~]*$/
/** The scheme's case is HTTP's: any. */
const CREDENTIALS = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i

/** Where a client gets a token that the gate would take. */
export interface Challenge {
  /** With a space between each two; may be empty. */
  scope: string
  /** URL of the issuer's discovery document. */
  configuration: string
}

/**
 * As PostgreSQL writes it: libpq takes our part off again, and what is left must be `oauth_issuer`, byte
 * by byte. So a slash that ends an issuer stays, though discovery itself leaves it out.
 */
export function configurationOf(issuer: string): string {
  return `${issuer}/.well-known/openid-configuration`
}

export type Status = 'invalid_token' | 'insufficient_scope'

/**
 * The token of the client's response; undefined where it gave none, in order to be told the issuer.
 * @throws Failure `protocol_violation`, and `invalid_token` where there is something else than a token.
 */
export function parseResponse(response: Secret): Secret | undefined {
  const [header = '', ...pairs] = response.reveal().split(KVSEP)
  if (!GS2_HEADERS.includes(header)) throw malformed(headerProblem(header))
  // One separator ends the last pair, one more all of them.
  if (pairs.pop() !== '' || pairs.pop() !== '') throw malformed('it does not end')
  const [auth, ...more] = pairs.map(parsePair).filter(({ key }) => key === 'auth')
  if (auth === undefined) throw malformed('it has no auth value')
  if (more.length > 0) throw malformed('it has more than one auth value')
  return auth.value === '' ? undefined : parseCredentials(auth.value)
}

/** The reason of a refusal as JSON, which holds the same members as PostgreSQL's. */
export function encodeRefusal(status: Status, { scope, configuration }: Challenge): Buffer {
  const said = { status, 'openid-configuration': configuration, scope: scope || undefined }
  return Buffer.from(JSON.stringify(said))
}

function headerProblem(header: string): string {
  if (header.startsWith('p=')) return 'it asks for channel binding, which OAUTHBEARER does not have'
  if (/^[ny],a=/.test(header)) return 'an authorization identity is not supported'
  return 'it does not begin with a GS2 header'
}

/** Keys that we don't know are passed over (RFC 7628 section 3.1), but not if they are no keys. */
function parsePair(pair: string): { key: string; value: string } {
  const end = pair.indexOf('=')
  if (end < 0) throw malformed(pair === '' ? 'it goes on after its end' : 'a key has no value')
  const key = pair.slice(0, end)
  const value = pair.slice(end + 1)
  if (!KEY.test(key)) throw malformed('a key is not made of letters')
  if (!VALUE.test(value)) throw malformed('a value is not plain text')
  return { key, value }
}

function parseCredentials(value: string): Secret {
  const token = CREDENTIALS.exec(value)?.[1]
  if (token !== undefined) return new Secret(token)
  throw new Failure('invalid_token', { detail: 'the auth value is not a bearer token (RFC 6750)' })
}

function malformed(problem: string): Failure {
  return new Failure('protocol_violation', {
    values: { problem: `malformed ${OAUTHBEARER} response: ${problem}` },
  })
}
