/**
 * What a startup packet asks for, once it is read: `options` in both dialects, the cluster that is meant,
 * and the names of user and database. What goes on to a node is read once more as the node would read it:
 * nothing of ours may be left, and nothing else may be gone.
 */
import fc from 'fast-check'
import { normalizeUsername } from '../../src/identity/username.ts'
import { isReserved } from '../../src/policy/reserved.ts'
import { type Asking, readAsk } from '../../src/sql/ask.ts'
import {
  addressOf,
  type CancelTarget,
  isCancelKey,
  openCancelKeys,
  workerOf,
} from '../../src/sql/cancel_keys.ts'
import { route } from '../../src/sql/route.ts'
import { startupMessage } from '../../src/wire/node_messages.ts'
import { type Dialect, readOptions } from '../../src/wire/options.ts'
import type { Startup } from '../../src/wire/startup.ts'
import { addressText, anyCharacters, bytes, oddText } from './made_up.ts'
import { must, mustEqual, outcome, type Target, target } from './target.ts'

const DIALECTS = ['postgresql', 'cockroachdb'] as const
const OURS = [
  '--crdb:jwt_auth_enabled=true',
  '-c crdb:jwt_auth_enabled=0',
  '-ccrdb%3Ajwt_auth_enabled=T',
  '-c%20crdb%3Ajwt_auth_enabled%3Dtrue',
  '--CRDB:jwt-auth-enabled=t',
  '--crdb:remote_addr=10.0.0.1:5',
  '-c crdb:remote-addr=x%00user%00root',
  '--crdb:session_revival_token_base64=x',
]
const PIECES = [
  ...[
    '-c',
    '--',
    '-',
    '=',
    '\\',
    ' ',
    '  ',
    '\t',
    '\u00a0',
    '\u2003',
    '%',
    '%20',
    '%00',
    '%2D',
    '+',
  ],
  ...['-S', '-e', '-eS', '-W', 'crdb:jwt_auth_enabled', 'CRDB%3Ajwt-auth-enabled', '=true', '=no'],
  ...['crdb:remote_addr', 'search_path', 'a=b', '-c a=1', '--b=2', '--cluster=', 'one', 'ident'],
]
const optionsText = fc
  .array(fc.oneof(fc.constantFrom(...OURS), fc.constantFrom(...PIECES), oddText), { maxLength: 10 })
  .chain((parts) => fc.constantFrom('', ' ').map((between) => parts.join(between)))

/** As both servers split: a backslash keeps the next character, white space ends a piece. */
function split(options: string, space: RegExp): string[] {
  const pieces: string[] = []
  let piece: string | undefined
  let escaped = false
  for (const character of options) {
    if (!escaped && space.test(character)) {
      if (piece !== undefined) pieces.push(piece)
      piece = undefined
      continue
    }
    escaped = !escaped && character === '\\'
    piece = (piece ?? '') + (escaped ? '' : character)
  }
  return piece === undefined ? pieces : [...pieces, piece]
}

/** The settings that a CockroachDB node reads, in order. */
function settingsOf(options: string): string[] {
  const settings: string[] = []
  let bare = false
  for (const piece of split(decodeURIComponent(options.replaceAll('+', ' ')), /\p{White_Space}/u)) {
    if (piece === '-c') bare = true
    else {
      const [key = '', value] = (bare ? piece : piece.slice(2)).split('=')
      settings.push(`${key.replaceAll('-', '_').toLowerCase()}=${value}`)
      bare = false
    }
  }
  return settings
}

const isOurs = (setting: string, keep: boolean) =>
  setting.startsWith('crdb:remote_addr=') || (!keep && setting.startsWith('crdb:jwt_auth_enabled='))

function isWithin(part: string[], whole: string[]): boolean {
  let found = 0
  for (const each of whole) if (each === part[found]) found += 1
  return found === part.length
}

const anyOptions = fc.tuple(optionsText, fc.constantFrom(...DIALECTS), fc.boolean())
const options = target('ask/options', anyOptions, ([text, dialect, keep]) => {
  const read = outcome(() => readOptions(text, dialect, keep))
  if (!('value' in read)) return
  const { jwt, rest } = read.value
  if (!text.includes('\0')) must(rest?.includes('\0') !== true, 'a NUL was made', rest)
  // What goes on is read by another gate, or by the node: it finds no switch, or the same one.
  const again = readOptions(rest, dialect, keep)
  mustEqual(again, { jwt: keep && jwt, rest }, 'what is left is read otherwise')
  if (rest === undefined) return
  if (dialect === 'cockroachdb') {
    const kept = settingsOf(text).filter((setting) => !isOurs(setting, keep))
    mustEqual(settingsOf(rest), kept, 'the settings that the node reads')
  } else {
    const space = /[ \t\n\v\f\r]/
    must(isWithin(split(rest, space), split(text, space)), 'pieces that nobody wrote', rest)
  }
})

const NAMES = [
  'crdb:session_revival_token_base64',
  'crdb:remote_addr',
  'CRDB:remote_addr',
  'User',
  'crdb:jwt_auth_enabled',
  'Options',
  'a',
]
const startup: fc.Arbitrary<Startup> = fc.record({
  minor: fc.constantFrom(0, 2, 9999),
  user: fc.oneof(fc.constantFrom('ann', 'Root', 'é', 'x'.repeat(64)), oddText),
  database: fc.option(fc.oneof(fc.constantFrom('shop', 'one.shop', 'two.a.b'), oddText), {
    nil: undefined,
  }),
  options: fc.option(optionsText, { nil: undefined }),
  replication: fc.option(fc.oneof(fc.constantFrom('true', 'database', 'of', 'o'), oddText), {
    nil: undefined,
  }),
  parameters: fc
    .array(fc.tuple(fc.oneof(fc.constantFrom(...NAMES), oddText), oddText), { maxLength: 4 })
    .map((pairs) => new Map(pairs)),
})
const asking: fc.Arbitrary<Asking> = fc.record({
  dialect: fc.constantFrom<Dialect>(...DIALECTS),
  signIn: fc.constantFrom('peer' as const, 'forward' as const),
  nonJwtLogins: fc.constantFrom('reject' as const, 'passthrough' as const, 'detect' as const),
})

/** As strings of a packet are. */
function withoutNul({ parameters, ...own }: Startup): Startup {
  const plain = (text: unknown) => (typeof text === 'string' ? text.replaceAll('\0', '') : text)
  const all = Object.fromEntries(Object.entries(own).map(([key, value]) => [key, plain(value)]))
  const others = [...parameters].map((pair) => pair.map(plain) as [string, string])
  return { ...(all as Omit<Startup, 'parameters'>), parameters: new Map(others) }
}

const asks = target('ask/ask', fc.tuple(startup, asking), ([sent, how]) => {
  const said = withoutNul(sent)
  const read = outcome(() => readAsk(said, how))
  if (!('value' in read)) return
  const { ask, others, options: left } = read.value
  const folds = how.dialect === 'cockroachdb'
  mustEqual(ask.user, folds ? normalizeUsername(said.user) : said.user, 'the user')
  must(Buffer.byteLength(said.user) <= 63, 'a name that the node would cut')
  for (const name of others.keys()) {
    const key = folds ? normalizeUsername(name) : name
    const own = ['crdb:remote_addr', 'crdb:jwt_auth_enabled', 'crdb:session_revival_token_base64']
    must(!own.includes(key), 'a parameter that only a gate may set goes on', name)
    if (folds) must(!['user', 'database', 'options', 'replication'].includes(key), 'a second', name)
  }
  // No string has a NUL in it: there was none in what the client sent.
  const parameters = [['user', ask.user], ['database', ask.database], ...others] as const
  startupMessage(left === undefined ? parameters : [...parameters, ['options', left]])
  const forwarded = folds && how.signIn === 'forward'
  mustEqual(
    outcome(() => readOptions(left, how.dialect, forwarded)),
    {
      value: { jwt: forwarded && readOptions(left, how.dialect, true).jwt, rest: left },
    },
    'options that go on',
  )
})

const CLUSTERS = new Map(['one', 'two', 'ident'].map((name) => [name, name]))
const hosts = fc.oneof(fc.constantFrom('', 'one.example.com', 'TWO', 'nobody.example.com'), oddText)
const routes = target('ask/route', fc.tuple(startup, hosts), ([said, host]) => {
  const read = outcome(
    () => route(said, host, CLUSTERS),
    [
      'cluster_missing',
      'cluster_ambiguous',
      'cluster_not_found',
      'cluster_flag',
      'database_prefix',
    ],
  )
  if (!('value' in read)) return
  const { cluster, startup: rest } = read.value
  const named = [said.database, said.options, host.toLowerCase()].join(' ')
  must(named.includes(cluster), 'a cluster that nobody named', cluster)
  // Without its name there is nothing left that would name another one.
  const again = outcome(() => route(rest, '', CLUSTERS))
  mustEqual('value' in again ? again.value.cluster : again.code, 'cluster_missing', 'what is left')
})

const letters = fc.oneof(
  anyCharacters(6),
  fc.string({
    unit: fc.constantFrom(
      'I',
      'İ',
      'ı',
      '\u0307',
      'K',
      'Å',
      'Σ',
      'ς',
      'ﬀ',
      'ǅ',
      '\u0345',
      'e',
      '\u0301',
    ),
  }),
  fc.constantFrom('ROOT', 'ｒｏｏｔ', 'Pg_x', 'ℝoot', 'CRDB_INTERNAL_x'),
)
const usernames = target('ask/username', letters, (name) => {
  const folded = normalizeUsername(name)
  mustEqual(normalizeUsername(folded), folded, 'a name that is folded twice is another one')
  if (isReserved(name)) must(isReserved(folded), 'a reserved name that is folded is none', folded)
  if (isReserved(folded))
    must(isReserved(name), 'a name that folds to a reserved one is none', folded)
})

const cancels = fc.tuple(
  fc.oneof(
    bytes(40),
    fc.constantFrom(8, 36).map((size) => Buffer.alloc(size)),
  ),
  addressText,
  fc.nat(4_095),
  fc.constantFrom(0, 2),
)
const cancelKeys = target('ask/cancel_key', cancels, ([key, address, worker, minor]) => {
  const keys = openCancelKeys(worker)
  const node = { wanted: false } as CancelTarget
  const from = addressOf({ address })
  const issued = keys.issue(node, from, minor)
  mustEqual([isCancelKey(issued.key), workerOf(issued.key)], [true, worker], 'a key of ours')
  mustEqual(keys.find(key, from), undefined, 'a key that was made up is found')
  mustEqual(keys.find(issued.key, from) === node, true, 'the key is not found')
  mustEqual(keys.find(issued.key, `${from}0`) === node, minor === 2, 'from elsewhere')
  issued.revoke()
  mustEqual(keys.find(issued.key, from), undefined, 'a key that was revoked')
})

export const askTargets: Target[] = [options, asks, routes, usernames, cancelKeys]
