/**
 * SASL in both directions: what clients answer to OAUTHBEARER, held against the grammar of RFC 7628, and
 * what nodes say in SCRAM, held against a server's side of RFC 5802 that was written for this.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import fc from 'fast-check'
import { Secret } from '../../src/secret.ts'
import { Framing } from '../../src/wire/framing.ts'
import { encodeRefusal, parseResponse } from '../../src/wire/oauthbearer.ts'
import { decodeSaslInitialResponse, decodeSaslResponse } from '../../src/wire/sasl.ts'
import { saslprep } from '../../src/wire/saslprep.ts'
import {
  choose,
  clientFirstBare,
  ITERATIONS_MAX,
  ITERATIONS_MIN,
  parseServerFirst,
  prove,
  SALT_BYTES_MAX,
  scramKeys,
  verifyServerFinal,
} from '../../src/wire/scram.ts'
import { message } from '../support/wire_client.ts'
import { anyCharacters, bytes, int32, nearly, nearlyText, oddText } from './made_up.ts'
import { must, mustEqual, outcome, type Target, target } from './target.ts'

const initial = fc
  .tuple(
    fc.constantFrom('OAUTHBEARER', 'SCRAM-SHA-256', ''),
    fc.option(bytes(20), { nil: undefined }),
  )
  .map(([mechanism, response]) => {
    const size = int32(response === undefined ? -1 : response.length)
    const parts = [Buffer.from(`${mechanism}\0`), size, response ?? Buffer.alloc(0)]
    return message('p', Buffer.concat(parts))
  })

const responses = target('wire/sasl', fc.tuple(nearly(initial), fc.boolean()), ([whole, first]) => {
  const framing = new Framing()
  framing.push(Buffer.from(whole))
  const asked = outcome(() => framing.message(1_000), ['message_too_large'])
  const frame = 'value' in asked ? asked.value : undefined
  if (frame === undefined) return
  const body = Buffer.from(frame.body)
  const read = outcome(() => {
    if (!first) return { mechanism: '', response: decodeSaslResponse(frame) }
    return decodeSaslInitialResponse(frame)
  }, ['client_gone', 'password_expected', 'protocol_violation'])
  must(
    frame.body.every((byte) => byte === 0),
    'the frame is not wiped',
  )
  if (!('value' in read)) return
  const { mechanism, response } = read.value
  const text = response && Buffer.from(response.reveal(), 'latin1')
  const size = int32(text === undefined ? -1 : text.length)
  const start = first ? [Buffer.from(`${mechanism}\0`, 'latin1'), size] : []
  mustEqual(Buffer.concat([...start, text ?? Buffer.alloc(0)]), body, 'written again')
})

const SEPARATOR = '\x01'
const pair = fc
  .tuple(
    fc.constantFrom('auth', 'auth', 'host', 'port', 'Auth', 'x'),
    fc.constantFrom(
      '',
      'Bearer abc',
      'bearer  a.b-c_~+/==',
      'Bearer',
      'Bearer a b',
      'Basic eA',
      '5432',
    ),
  )
  .map(([key, value]) => `${key}=${value}${SEPARATOR}`)
const bearer = nearlyText(
  fc
    .tuple(
      fc.constantFrom('n,,', 'y,,', 'p=tls-unique,,', 'n,a=x,'),
      fc.array(pair, { maxLength: 3 }),
    )
    .map(([header, pairs]) => `${header}${SEPARATOR}${pairs.join('')}${SEPARATOR}`),
  [SEPARATOR, '=', ',', 'auth=', 'Bearer '],
)

/** RFC 7628 section 3.1 and RFC 6750 section 2.1, as one expression each. */
const VALUE = String.raw`[\t\n\r -~]*`
const RESPONSE = new RegExp(`^[ny],,${SEPARATOR}((?:[A-Za-z]+=${VALUE}${SEPARATOR})*)${SEPARATOR}$`)
const AUTH = new RegExp(`(?<![^${SEPARATOR}])auth=([^${SEPARATOR}]*)${SEPARATOR}`, 'g')
const TOKEN = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** The token, '' for a client that has none yet; undefined for what is no response. */
function tokenIn(text: string): string | undefined {
  const pairs = RESPONSE.exec(text)?.[1]
  if (pairs === undefined) return undefined
  const [one, ...more] = [...pairs.matchAll(AUTH)]
  if (one === undefined || more.length > 0) return undefined
  return one[1] === '' ? '' : TOKEN.exec(one[1] ?? '')?.[1]
}

const bearers = target('wire/oauthbearer', bearer, (text) => {
  const read = outcome(
    () => parseResponse(new Secret(text)),
    ['protocol_violation', 'invalid_token'],
  )
  mustEqual('value' in read ? (read.value?.reveal() ?? '') : undefined, tokenIn(text), 'the token')
})

const refusals = target(
  'wire/bearer_refusal',
  fc.tuple(oddText, oddText),
  ([scope, configuration]) => {
    const said: unknown = JSON.parse(
      String(encodeRefusal('invalid_token', { scope, configuration })),
    )
    const expected = { status: 'invalid_token', 'openid-configuration': configuration, scope }
    mustEqual(
      said,
      JSON.parse(JSON.stringify({ ...expected, scope: scope || undefined })),
      'the JSON',
    )
  },
)

const NONCE = 'fyko+d2lbbFgONRv9qkxdawL'
const serverFirst = nearlyText(
  fc
    .tuple(
      fc.constantFrom('3rfcNHYJY1ZVvWVs7j', '', '='),
      bytes(20),
      fc.constantFrom(4095, 4096, 1e6, 1e6 + 1),
    )
    .map(([more, salt, count]) => `r=${NONCE}${more},s=${salt.toString('base64')},i=${count}`),
  [',', '=', 'r=', 'i=', 'm=x,', NONCE],
)

const serverFirsts = target('wire/scram_first', serverFirst, (text) => {
  const read = outcome(() => parseServerFirst(text, NONCE), ['node_protocol'])
  if (!('value' in read)) return
  const { nonce, salt, iterations } = read.value
  must(nonce.startsWith(NONCE) && nonce.length > NONCE.length, 'a nonce that does not extend ours')
  must(iterations >= ITERATIONS_MIN && iterations <= ITERATIONS_MAX, 'too much work, or too little')
  must(salt.length <= SALT_BYTES_MAX, 'a salt without a bound')
  must(text.startsWith(`r=${nonce},s=`), 'another nonce than it says')
})

const exchanges = fc.record({
  salted: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  salt: fc.uint8Array({ minLength: 1, maxLength: 20 }),
  binding: fc.option(bytes(64), { nil: undefined }),
  /** The server's last message is another one: a bit of it. */
  tampered: fc.option(fc.nat(43 * 8), { nil: undefined }),
})

/** A server that has the role's keys, by RFC 5802 section 3. */
const scram = target('wire/scram', exchanges, ({ salted, salt, binding, tampered }) => {
  const hmac = (key: Uint8Array, text: string) => createHmac('sha256', key).update(text).digest()
  const sha = (data: Uint8Array) => createHash('sha256').update(data).digest()
  const choice = choose(['SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS'], binding)
  if (choice === undefined) throw new Error('nothing was chosen')
  const first = clientFirstBare(NONCE)
  const text = `r=${NONCE}server,s=${Buffer.from(salt).toString('base64')},i=4096`
  const server = parseServerFirst(text, NONCE)
  const { clientFinal, signature } = prove(choice, first, server, scramKeys(Buffer.from(salted)))
  const [bound, nonce, proof] = clientFinal.split(/,(?=[rp]=)/)
  const header = binding === undefined ? 'n,,' : 'p=tls-server-end-point,,'
  const expected = Buffer.concat([Buffer.from(header), binding ?? Buffer.alloc(0)])
  mustEqual(
    [bound, nonce],
    [`c=${expected.toString('base64')}`, `r=${server.nonce}`],
    'the binding',
  )
  const storedKey = sha(hmac(salted, 'Client Key'))
  const message = `${first},${text},${bound},${nonce}`
  const mask = hmac(storedKey, message)
  const clientKey = Buffer.from(proof?.slice(2) ?? '', 'base64').map(
    (byte, at) => byte ^ (mask[at] ?? 0),
  )
  must(timingSafeEqual(sha(clientKey), storedKey), 'the proof proves nothing')
  const ours = hmac(hmac(salted, 'Server Key'), message)
  mustEqual(signature, ours, "the server's signature")
  const said = Buffer.from(`v=${ours.toString('base64')}`)
  if (tampered !== undefined) {
    const at = 2 + (tampered >> 3)
    said.writeUInt8(said.readUInt8(at) ^ (1 << (tampered & 7)), at)
  }
  const heard = outcome(
    () => verifyServerFinal(said.toString('latin1'), signature),
    ['node_protocol', 'node_signin_failed'],
  )
  const same = Buffer.from(said.toString('latin1').slice(2), 'base64').equals(ours)
  must(same || !('value' in heard), 'another signature is believed')
  if (tampered === undefined) must('value' in heard, 'the right signature is not believed')
})

const odd = anyCharacters(12)
const spaces = fc.constantFrom('\u00a0', '\u2003', '\u00ad', '\u200d', '\ufb01', '\u2126', '\u0340')
const passwords = target(
  'wire/saslprep',
  fc.oneof(
    odd,
    fc.array(fc.oneof(odd, spaces)).map((all) => all.join('')),
  ),
  (text) => {
    const prepared = saslprep(text)
    mustEqual(saslprep(prepared), prepared, 'what was prepared is prepared otherwise')
    if (/^[\x20-\x7e]*$/.test(text)) mustEqual(prepared, text, 'ASCII is changed')
  },
)

export const saslTargets: Target[] = [responses, bearers, refusals, serverFirsts, scram, passwords]
