/**
 * SCRAM-SHA-256 as its client: the messages, and what is computed from a password that was stretched
 * (PBKDF2 is the caller's: it takes time). RFC 5802, RFC 7677, and channel binding as PostgreSQL has it.
 * https://www.postgresql.org/docs/18/sasl-authentication.html
 * Rule: the server's nonce extends ours, the work that it asks for is bounded, and until its signature
 * verifies nobody has proven anything.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Failure } from '../failure.ts'

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'
const SCRAM_SHA_256_PLUS = 'SCRAM-SHA-256-PLUS'

/**
 * As RFC 7677 section 4 has it, and PostgreSQL's own default (CockroachDB's is 10610). With fewer the proof
 * of a secret would tell whoever stands in for the node more than it has to: it could guess on by itself.
 */
export const ITERATIONS_MIN = 4_096
/** This many keep one processor busy for a third of a second. */
export const ITERATIONS_MAX = 1_000_000

/** PostgreSQL's and CockroachDB's have 16 bytes; what is remembered has a salt in its name. */
export const SALT_BYTES_MAX = 256

/** What is left of a password once it was stretched; as good as the password for one salt. */
export interface ScramKeys {
  clientKey: Buffer
  serverKey: Buffer
}

/** RFC 5802 section 7: the GS2 header, and what is bound to. */
export interface Choice {
  mechanism: string
  header: string
  binding: Buffer
}

export interface ServerFirst {
  salt: Buffer
  iterations: number
  nonce: string
  text: string
}

/**
 * The node's certificate is bound to whenever both ends can. `y` says that we could: where somebody
 * took the offer away on the way, the node knows it then.
 * @param endPoint - of the TLS that we verified; see RFC 5929. Undefined without TLS.
 * @returns undefined where the node offers nothing that we have
 */
export function choose(offered: readonly string[], endPoint: Buffer | undefined) {
  const nothing = Buffer.alloc(0)
  if (endPoint !== undefined && offered.includes(SCRAM_SHA_256_PLUS))
    return choice(SCRAM_SHA_256_PLUS, 'p=tls-server-end-point,,', endPoint)
  if (!offered.includes(SCRAM_SHA_256)) return undefined
  return choice(SCRAM_SHA_256, endPoint === undefined ? 'n,,' : 'y,,', nothing)
}

function choice(mechanism: string, header: string, binding: Buffer): Choice {
  return { mechanism, header, binding }
}

/** Whom it is for is in the startup packet: PostgreSQL reads no name here, and libpq sends none. */
export function clientFirstBare(nonce: string): string {
  return `n=,r=${nonce}`
}

/** @throws Failure `node_protocol` */
export function parseServerFirst(text: string, nonce: string): ServerFirst {
  const found = /^r=([!-+\--~]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,9})(?:,|$)/.exec(text)
  const [, whole = '', salt = '', count = ''] = found ?? []
  if (found === null) throw broken('server-first-message is malformed')
  if (!whole.startsWith(nonce) || whole.length === nonce.length)
    throw broken('its nonce does not extend ours')
  const iterations = Number(count)
  if (iterations < ITERATIONS_MIN)
    throw broken(`it asks for ${iterations} iterations, and ${ITERATIONS_MIN} are the fewest`)
  if (iterations > ITERATIONS_MAX)
    throw broken(`it asks for ${iterations} iterations, and ${ITERATIONS_MAX} are the most`)
  const bytes = Buffer.from(salt, 'base64')
  if (bytes.length > SALT_BYTES_MAX)
    throw broken(`its salt has ${bytes.length} bytes, and ${SALT_BYTES_MAX} are the most`)
  return { salt: bytes, iterations, nonce: whole, text }
}

export function scramKeys(saltedPassword: Buffer): ScramKeys {
  return {
    clientKey: hmac(saltedPassword, 'Client Key'),
    serverKey: hmac(saltedPassword, 'Server Key'),
  }
}

/** Our proof, and the signature that has to come back. */
export function prove(
  { header, binding }: Choice,
  clientFirst: string,
  server: ServerFirst,
  { clientKey, serverKey }: ScramKeys,
): { clientFinal: string; signature: Buffer } {
  const bound = Buffer.concat([Buffer.from(header), binding]).toString('base64')
  const withoutProof = `c=${bound},r=${server.nonce}`
  const exchanged = `${clientFirst},${server.text},${withoutProof}`
  const storedKey = createHash('sha256').update(clientKey).digest()
  const mask = hmac(storedKey, exchanged)
  const proof = clientKey.map((byte, at) => byte ^ (mask[at] ?? 0))
  return {
    clientFinal: `${withoutProof},p=${Buffer.from(proof).toString('base64')}`,
    signature: hmac(serverKey, exchanged),
  }
}

/** @throws Failure `node_protocol`, or `node_signin_failed` for one who doesn't know the secret */
export function verifyServerFinal(text: string, signature: Buffer): void {
  const [, verifier] = /^v=([A-Za-z0-9+/]+={0,2})(?:,|$)/.exec(text) ?? []
  if (verifier === undefined) throw broken('server-final-message has no verifier')
  const said = Buffer.from(verifier, 'base64')
  if (said.length === signature.length && timingSafeEqual(said, signature)) return
  throw new Failure('node_signin_failed', {
    log: 'SCRAM: the node did not prove that it knows the secret of the role',
  })
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function broken(problem: string): Failure {
  return new Failure('node_protocol', { log: `SCRAM: ${problem}` })
}
