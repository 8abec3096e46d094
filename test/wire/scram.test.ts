/** SCRAM's messages and its arithmetic: the RFC's own example, and a node that cheats. */
import { pbkdf2Sync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { asFailure } from '../../src/failure.ts'
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

const endPoint = Buffer.alloc(32, 7)

describe('the choice of a mechanism', () => {
  const [plain, plus] = ['SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS']
  test.each<[string, string[], Buffer | undefined, [string, string] | undefined]>([
    ['both, over TLS', [plus, plain], endPoint, [plus, 'p=tls-server-end-point,,']],
    ['both the other way round', [plain, plus], endPoint, [plus, 'p=tls-server-end-point,,']],
    ['both, with nothing to bind to', [plus, plain], undefined, [plain, 'n,,']],
    ['the plain one, in clear', [plain], undefined, [plain, 'n,,']],
    ['the plain one, over TLS: somebody may have cut the other', [plain], endPoint, [plain, 'y,,']],
    ['among others', ['OAUTHBEARER', plain], undefined, [plain, 'n,,']],
    ['only one that binds, in clear', [plus], undefined, undefined],
    ['others', ['SCRAM-SHA-1', 'OAUTHBEARER'], endPoint, undefined],
    ['none', [], endPoint, undefined],
  ])('%s', (_name, offered, bound, expected) => {
    const chosen = choose(offered, bound)
    expect(chosen && [chosen.mechanism, chosen.header]).toEqual(expected)
    if (chosen !== undefined)
      expect(chosen.binding).toEqual(chosen.header.startsWith('p') ? endPoint : Buffer.alloc(0))
  })
})

// RFC 7677 section 3.
const NONCE = 'rOprNGfwEbeRWgbNEkqO'
const EXAMPLE = `r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`
const keys = (password: string, { salt, iterations }: { salt: Buffer; iterations: number }) =>
  scramKeys(pbkdf2Sync(password, salt, iterations, 32, 'sha256'))
const bare = { mechanism: 'SCRAM-SHA-256', header: 'n,,', binding: Buffer.alloc(0) }

describe("the RFC's example", () => {
  const first = parseServerFirst(EXAMPLE, NONCE)
  const proven = prove(bare, `n=user,r=${NONCE}`, first, keys('pencil', first))
  const verifier = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='

  test('is proven', () => {
    expect(proven.clientFinal).toBe(
      `c=biws,r=${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    )
  })

  test.each<[string, string, string | undefined]>([
    ['the right one', verifier, undefined],
    ['with an extension', `${verifier},x=y`, undefined],
    ["another one's", verifier.replace('6rri', '7rri'), 'node_signin_failed'],
    ['half of it', 'v=6rriTRBi', 'node_signin_failed'],
    ['an error', 'e=invalid-proof', 'node_protocol'],
    ['nothing', '', 'node_protocol'],
    ['no base64', 'v=!', 'node_protocol'],
    ['an empty one', 'v=', 'node_protocol'],
  ])("the node's signature: %s", (_name, text, code) => {
    expect(codeOf(() => verifyServerFinal(text, proven.signature))).toBe(code)
  })

  test('a wrong password is another proof, and so is another binding', () => {
    const wrong = prove(bare, `n=user,r=${NONCE}`, first, keys('pencils', first))
    const bound = { ...bare, header: 'p=tls-server-end-point,,', binding: endPoint }
    const other = prove(bound, `n=user,r=${NONCE}`, first, keys('pencil', first))
    expect(new Set([proven, wrong, other].map(({ clientFinal }) => clientFinal)).size).toBe(3)
    const said = Buffer.concat([Buffer.from('p=tls-server-end-point,,'), endPoint])
    expect(other.clientFinal).toMatch(`c=${said.toString('base64')},r=`)
  })
})

describe("a node's first message", () => {
  const salt = 's=W22ZaJ0SNY7soEsUEjb6gQ=='
  const nonce = `r=${NONCE}more`
  const saltOf = (bytes: number) => Buffer.alloc(bytes).toString('base64')
  const iterations = (count: number | string) => `${nonce},${salt},i=${count}`
  test.each<[string, string, string | undefined]>([
    ['of PostgreSQL', EXAMPLE, undefined],
    ['as few as we do', iterations(ITERATIONS_MIN), undefined],
    ['as many as we do', iterations(ITERATIONS_MAX), undefined],
    ['an extension', `${iterations(4096)},x=y`, undefined],
    ['one round', iterations(1), 'node_protocol'],
    ['one round too few', iterations(ITERATIONS_MIN - 1), 'node_protocol'],
    ['one round too many', iterations(ITERATIONS_MAX + 1), 'node_protocol'],
    ['a thousand million', iterations(1e9), 'node_protocol'],
    ['no round', iterations(0), 'node_protocol'],
    ['fewer than none', iterations(-1), 'node_protocol'],
    ['half a round', iterations('4096.5'), 'node_protocol'],
    ['our nonce alone', `r=${NONCE},${salt},i=4096`, 'node_protocol'],
    ["somebody else's nonce", `r=x${NONCE}more,${salt},i=4096`, 'node_protocol'],
    ['our nonce behind another', `r=more${NONCE},${salt},i=4096`, 'node_protocol'],
    ['no salt', `${nonce},s=,i=4096`, 'node_protocol'],
    ['a salt as long as we take', `${nonce},s=${saltOf(SALT_BYTES_MAX)},i=4096`, undefined],
    ['a longer one', `${nonce},s=${saltOf(SALT_BYTES_MAX + 1)},i=4096`, 'node_protocol'],
    ['a salt that is no base64', `${nonce},s=***,i=4096`, 'node_protocol'],
    ['another order', `${salt},${nonce},i=4096`, 'node_protocol'],
    ['an extension that we must know', `m=x,${iterations(4096)}`, 'node_protocol'],
    ['a line break', `${iterations(4096)}\n`, 'node_protocol'],
    ['nothing', '', 'node_protocol'],
  ])('%s', (_name, text, code) => {
    expect(codeOf(() => parseServerFirst(text, NONCE))).toBe(code)
  })
})

test('our first message has no name, as libpq', () => {
  expect(clientFirstBare(NONCE)).toBe(`n=,r=${NONCE}`)
})

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (thrown) {
    return asFailure(thrown).code
  }
}
