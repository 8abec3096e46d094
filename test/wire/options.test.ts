import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Failure } from '../../src/failure.ts'
import { type Dialect, readOptions } from '../../src/wire/options.ts'

const ON = '--crdb:jwt_auth_enabled=true'
const DIALECTS: Dialect[] = ['cockroachdb', 'postgresql']

type Expected = { jwt: boolean; rest: string | undefined } | { sqlstate: string; says: string }
type Row = [options: string | undefined, expected: Expected]

const jwt = (rest?: string): Expected => ({ jwt: true, rest })
const password = (rest?: string): Expected => ({ jwt: false, rest })
const refused = (says: string, sqlstate = '08P01'): Expected => ({ sqlstate, says })
const badSwitch = (value: string) =>
  refused(`invalid value for parameter "crdb:jwt_auth_enabled": "${value}"`, '22023')
const delay = (when: string) => refused(`parameter ${when}_auth_delay is not allowed`)
const revival = refused('parameter crdb:session_revival_token_base64 is not allowed')

function read(options: string | undefined, dialect: Dialect, keepSwitch?: boolean): Expected {
  try {
    return readOptions(options, dialect, keepSwitch)
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown
    return { sqlstate: thrown.row.sqlstate, says: thrown.message }
  }
}

function check(dialects: Dialect[], rows: Row[], keepSwitch?: boolean): void {
  const cases = dialects.flatMap((dialect) => rows.map((row) => [dialect, ...row] as const))
  test.each(cases)('%s: %j', (dialect, options, expected) => {
    expect(read(options, dialect, keepSwitch)).toEqual(expected)
  })
}

describe('both dialects', () => {
  check(DIALECTS, [
    // 87
    [ON, jwt()],
    ['-c crdb:jwt_auth_enabled=true', jwt()],
    ['-ccrdb:jwt_auth_enabled=1', jwt()],
    ['--CRDB:jwt-auth-enabled=T', jwt()],
    // 88
    ['-c%20crdb%3Ajwt_auth_enabled%3Dtrue', jwt()],
    ['-c+crdb%3Ajwt_auth_enabled%3Dtrue', jwt()],
    ['-c crdb%3Ajwt_auth_enabled%3Dtrue', jwt()],
    ['-ccrdb%3Ajwt_auth_enabled=true', jwt()],
    ['--crdb%3ajwt_auth_enabled%3dtrue', jwt()],
    ['--crdb:jwt_auth_enabled=%74rue', jwt()],
    ['%2D%2Dcrdb%3Ajwt_auth_enabled%3Dfalse', password()],
    // 89
    [`-csearch_path=a,b\t${ON}`, jwt('-csearch_path=a,b')],
    // 90
    ['--crdb:jwt_auth_enabled=yes', badSwitch('yes')],
    ['-c%20crdb%3Ajwt_auth_enabled%3Dyes', badSwitch('yes')],
    ['-c crdb:jwt_auth_enabled=tRUE', badSwitch('tRUE')],
    ['-ccrdb:jwt_auth_enabled=', badSwitch('')],
    [`--crdb:jwt_auth_enabled=yes ${ON}`, badSwitch('yes')],
    [`--crdb:jwt_auth_enabled=a\\\n"\\\\`, badSwitch('a\\n\\"\\\\')],
    [`--crdb:jwt_auth_enabled=${'x'.repeat(99)}`, badSwitch(`${'x'.repeat(64)}…`)],
    // 95: the startup parameter of that name is the caller's to ignore
    [undefined, password()],
    // 96: the node refuses its own
    ['-c results_buffer_size=42', password('-c results_buffer_size=42')],
    // 97
    ['--crdb:jwt_auth_enabled=false', password()],

    ['', password('')],
    [' \t ', password(' \t ')],
    [` ${ON} `, jwt()],
    [`-c search_path=a ${ON}`, jwt('-c search_path=a')],
    [`${ON} -c search_path=a`, jwt('-c search_path=a')],
    [`-c a=1  ${ON} --b=2`, jwt('-c a=1 --b=2')],
    [`--a=READ\\ UNCOMMITTED ${ON} --b=c\\\\`, jwt('--a=READ\\ UNCOMMITTED --b=c\\\\')],
    [`--a=b\\\\ ${ON}`, jwt('--a=b\\\\')],
    [`${ON}\\`, jwt()],
    ['\\-\\-crdb:jwt_auth_enabled=tru\\e', jwt()],
    [`${ON} --a=1 --crdb:jwt_auth_enabled=0`, password('--a=1')],
    [`-c crdb:jwt_auth_enabled=f ${ON}`, jwt()],

    // Not the switch: its own name and place make it so.
    ['-c --crdb:jwt_auth_enabled=true', password('-c --crdb:jwt_auth_enabled=true')],
    ['-c -ccrdb:jwt_auth_enabled=true', password('-c -ccrdb:jwt_auth_enabled=true')],
    ['----crdb:jwt_auth_enabled=true', password('----crdb:jwt_auth_enabled=true')],
    [`--a=b\\ \\ ${ON.replaceAll('=', ':')}`, password(`--a=b\\ \\ ${ON.replaceAll('=', ':')}`)],
    ['--jwt_auth_enabled=true', password('--jwt_auth_enabled=true')],
    ['-c crdb:other=true', password('-c crdb:other=true')],
    ['--crdb%253Ajwt_auth_enabled=true', password('--crdb%253Ajwt_auth_enabled=true')],

    // An address is the gate's to tell, a revival token nobody's.
    ['--crdb:remote_addr=10.0.0.1:5', password()],
    [`--a=1 -c CRDB:remote-addr=x%00user%00root ${ON}`, jwt('--a=1')],
    ['--crdb:session_revival_token_base64=dG9r', revival],
    ['-c CRDB:Session-Revival-Token-Base64=dG9r', revival],
    ['-ccrdb%3Asession_revival_token_base64%3DdG9r', revival],
    [`${ON} -c \\crdb:session_revival_token_base64=`, revival],
  ])
})

const noPrefix = (piece: string) =>
  refused(`option "${piece}" is invalid, must have prefix '-c' or '--'`)
const checkEquals = (piece: string) => refused(`option "${piece}" is invalid, check '='`)
const badEscape = (options: string) => refused(`failed to unescape options "${options}"`)

describe('towards CockroachDB', () => {
  check(
    ['cockroachdb'],
    [
      ['-csearch_path=a,b%09--crdb:jwt_auth_enabled=true', jwt('-csearch_path=a,b')], // 89
      ['crdb:jwt_auth_enabled=true', noPrefix('crdb:jwt_auth_enabled=true')], // 91
      [
        '-c search_path=default-c optimizer_use_multicol_stats=true', // 94
        noPrefix('optimizer_use_multicol_stats=true'),
      ],
      ['-', noPrefix('-')],
      ['\\', noPrefix('')],
      [`-S ${ON}`, noPrefix('-S')],
      ['-c x', checkEquals('x')],
      ['--a=b=c', checkEquals('--a=b=c')],
      ['--', checkEquals('--')],
      [`${ON}=1`, checkEquals(`${ON}=1`)],
      [`--a=b\\ ${ON}`, checkEquals(`--a=b ${ON}`)],

      ['--a=50%', badEscape('--a=50%')],
      ['--a=%zz', badEscape('--a=%zz')],
      ['--a=%ff', badEscape('--a=%ff')],
      ['--a=\ud800', badEscape('--a=\\ud800')],
      ['%00\u0007\u202e\u{e0001}%', badEscape('%00\\a\\u202e\\U000e0001%')],
      [`%${'é'.repeat(99)}`, badEscape(`%${'é'.repeat(63)}…`)],
      ['"\u007f\x00\u00a0é😀', noPrefix('\\"\\x7f\\x00')],

      // Unicode white space splits, unless it is escaped; what is not White_Space does not.
      ...['\v', '\u0085', '\u00a0', '\u1680', '\u2003', '\u2028', '\u202f', '\u3000'].map(
        (space): Row => [`-c${space}${space}a=1${space}${ON}${space}`, jwt('-c a=1')],
      ),
      [`--a=b\ufeff\u200bc ${ON}`, jwt('--a=b\ufeff\u200bc')],
      [`--a=b\\\u2003c ${ON}`, jwt('--a=b\\\u2003c')],

      // What goes on is escaped again where the node would unescape it, and only there.
      ['--a=b+--c=%3d', checkEquals('--c==')],
      ['--a=b%2B%25+--c=%C3%A9', password('--a=b%2B%25+--c=%C3%A9')],
      [`--a=b%2B%25+--c=%C3%A9+${ON}`, jwt('--a=b%2B%25 --c=é')],
      [`--a=b%00user%00root%00 ${ON}`, jwt('--a=b%00user%00root%00')],
      [`-c -c a=1 -c -c crdb:jwt_auth_enabled=true --b=2`, jwt('-c a=1 --b=2')],
      [`--a=1 ${ON} -c`, jwt('--a=1')],
      [`${ON} --a=b\\`, jwt('--a=b\\')],
    ],
  )
})

describe('towards PostgreSQL', () => {
  const untouched = [
    'crdb:jwt_auth_enabled=true', // 91
    '-c search_path=default-c optimizer_use_multicol_stats=true', // 94
    '-csearch_path=a,b%09--crdb:jwt_auth_enabled=true', // 89, a tab only to who unescapes it
    '--application_name%3Dx%20--crdb%3Ajwt_auth_enabled%3Dtrue',
    '-c x',
    '-c',
    '-c crdb:jwt_auth_enabled',
    '-c \\ crdb:jwt_auth_enabled=true',
    '--a=b=c',
    '--a=50% --b=%ff',
    '--a=x+y',
    '--a=\ud800',
    `--a=b\\ ${ON}`,
    `--a=b\u00a0${ON}`,
    `--a=b\u0085${ON}`,
    `-S ${ON}`,
    `-eS ${ON}`,
    `-p\t\\${ON}`,
    '-ec crdb:jwt_auth_enabled=true',
    `-c -- -f ${ON}`,
    `-- ${ON}`,
    `-- x ${ON}`,
    `- ${ON.slice(2)}`,
  ]
  check(
    ['postgresql'],
    [
      ...untouched.map((options): Row => [options, password(options)]),
      [`-S4 ${ON}`, jwt('-S4')],
      [`-S 4 ${ON}`, jwt('-S 4')],
      [`-e\f${ON}`, jwt('-e')],
      [`-c -- ${ON}`, jwt('-c --')],
      [`- ${ON}`, jwt('-')],
      [`  foo\v\v${ON}  -c x `, jwt('  foo  -c x ')],
      [` ${ON}\t ${ON}\n-c x=%2B+  --a-b=\u00a0 `, jwt('-c x=%2B+  --a-b=\u00a0 ')],
      [`${ON} \u00a0`, jwt('\u00a0')],
      // A session that sleeps before it has begun can't be cancelled.
      ['-W60', delay('post')],
      ['-W 60', delay('post')],
      ['-eW\\6 0', delay('post')],
      [`${ON} -c post_auth_delay=60`, delay('post')],
      ['-cPost-Auth-Delay=60', delay('post')],
      ['-ec post_auth_delay=60', delay('post')],
      ['--post_auth\\_delay=60', delay('post')],
      ['-e-post_auth_delay=60', delay('post')],
      ['--pre_auth_delay=1', delay('pre')],
      ['-- -W60', password('-- -W60')],
      ['-S -W60', password('-S -W60')],
      ['-c x=-W60', password('-c x=-W60')],
      ['--crdb:jwt_auth_enabled=a=b', badSwitch('a=b')],
      ['--crdb:jwt_auth_enabled=tru+e', badSwitch('tru+e')],
      [`--a=x\\ \t${ON}\\\\`, badSwitch('true\\\\')],
      [`--a=x\\ \t${ON} `, jwt('--a=x\\  ')],
    ],
  )
})

describe('sign-in by forward keeps the switch', () => {
  check(
    DIALECTS,
    [
      [ON, jwt(ON)],
      [`-c%20crdb%3Ajwt_auth_enabled%3Dtrue`, jwt('-c%20crdb%3Ajwt_auth_enabled%3Dtrue')],
      [`--crdb:jwt_auth_enabled=no`, badSwitch('no')],
      [`-c a=1 --crdb:remote_addr=x ${ON}`, jwt(`-c a=1 ${ON}`)],
      [`${ON} --crdb:session_revival_token_base64=x`, revival],
    ],
    true,
  )
})

describe('what nodes read in different ways', () => {
  const ambiguous = refused(
    'options can be read in two ways, write them without % + and unusual white space',
  )
  const hidden = (space: string) => `-capplication_name=b${space}-c ${ON}`
  const rows: Row[] = [
    // White space to one of them: what follows is the argument of `-c`, or the switch.
    ...['\u3000', '\u2003', '+', '%20', '%09'].map((space): Row => [hidden(space), ambiguous]),
    ['-ca=b+-c --crdb:remote_addr=10.0.0.1:5', ambiguous],
    ['-ca=b\u3000-c --crdb:session_revival_token_base64=x', ambiguous],
    ['-c replication=database', refused('parameter replication is not allowed')],
    ['-ca=b\u3000-c --replication=true', ambiguous],
    // Read as a token by one of them, it is judged as one.
    [`-capplication_name=b%20${ON.replace('=', '%3D')}`, jwt('-capplication_name=b')],
    // The second byte of `à` is white space to who looks at bytes; it finds no setting there, and says so.
    [`-c application_name=à ${ON}`, jwt('-c application_name=à')],
    [`-c search_path=a%2Cb ${ON}`, jwt('-c search_path=a%2Cb')],
    [`-c application_name=日本 ${ON}`, jwt('-c application_name=日本')],
  ]
  check(['cockroachdb'], rows)
  check(['cockroachdb'], rows.slice(0, 6), true)
})

/** Splits as both servers do, a character at a time; they differ in `space`. */
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

/** The settings a CockroachDB node reads, in order. */
function nodeSettings(options: string | undefined): [key: string, value: string][] {
  const unescaped = decodeURIComponent((options ?? '').replaceAll('+', ' '))
  const settings: [string, string][] = []
  let bare = false
  for (const piece of split(unescaped, /\p{White_Space}/u)) {
    if (piece === '-c') bare = true
    else {
      const [key = '', value = ''] = (bare ? piece : piece.slice(2)).split('=')
      settings.push([key.replaceAll('-', '_').toLowerCase(), value])
      bare = false
    }
  }
  return settings
}

const fragment = fc.oneof(
  fc.constantFrom(
    '-c',
    '--',
    '-',
    '=',
    '\\',
    ' ',
    '\t',
    '\u00a0',
    '\u2003',
    '%',
    '%20',
    '%00',
    '+',
  ),
  fc.constantFrom('-S', '-e', 'crdb:jwt_auth_enabled', 'CRDB%3Ajwt-auth-enabled', '=true', '=no'),
  fc.constantFrom(ON, 'crdb:remote_addr', 'crdb:session_revival_token_base64', 'search_path'),
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((c) => String.fromCharCode(c)) }),
)
const anyOptions = fc.array(fragment, { maxLength: 12 }).map((fragments) => fragments.join(''))
const ourSwitch = fc.constantFrom(
  ON,
  '-c crdb:jwt_auth_enabled=true',
  '-c\t\tCRDB:jwt-auth-enabled=1',
  '-ccrdb:jwt_auth_enabled=T',
  '-c%20crdb%3Ajwt_auth_enabled%3Dtrue',
  '--crdb%3Ajwt_auth_enabled%3Dt',
)
/** Puts `inserted` between two of `parts`, or at an end. */
const insert = (parts: string[], at: number, inserted: string): string[] =>
  parts.toSpliced(at % (parts.length + 1), 0, inserted)

describe('whatever is sent', () => {
  test('nothing is thrown but a Failure, and no NUL is made', () => {
    fc.assert(
      fc.property(
        anyOptions,
        fc.constantFrom(...DIALECTS),
        fc.boolean(),
        (options, dialect, keep) => {
          const answer = read(options, dialect, keep)
          if ('says' in answer) expect(answer.says.length).toBeLessThan(160)
          else if (!options.includes('\0')) expect(answer.rest ?? '').not.toContain('\0')
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('towards PostgreSQL, options without ours stay what they were', () => {
    const spelledOut = (options: string) =>
      options
        .replaceAll('\\', '')
        .replace(/%(\w\w)/g, (_, hex) => String.fromCharCode(Number(`0x${hex}`)))
    const withoutOurs = anyOptions.filter((options) => !/crdb/i.test(spelledOut(options)))
    fc.assert(
      fc.property(withoutOurs, (options) => {
        expect(readOptions(options, 'postgresql')).toEqual({ jwt: false, rest: options })
      }),
      { numRuns: 1000 },
    )
  })

  test('towards PostgreSQL, our switch is found between any two flags and leaves no trace', () => {
    const word = fc.string({
      unit: fc.constantFrom('a', 'é', '=', '-', '\\ ', '\\\\', '\u00a0', '%2B', '+'),
    })
    const flag = fc.oneof(
      fc
        .tuple(fc.constantFrom('-c ', '-c', '--x', '-S \t', '-ef\n', '-p5', 'w'), word)
        .map((two) => two.join('')),
      fc.constantFrom('-e', '-', `-S ${ON}`, `-c ${ON}`, '-v --'),
    )
    const space = fc.string({
      unit: fc.constantFrom(' ', '\t', '\n', '\v', '\f', '\r'),
      minLength: 1,
    })
    // A lone flag would take what follows it; `--` would end the flags.
    const whole = fc.array(
      flag.filter((text) => !/^(?:-c ?|-S \t|-ef\n|--)$/.test(text)),
      { maxLength: 6 },
    )
    fc.assert(
      fc.property(whole, fc.nat(), ourSwitch, space, (flags, at, ours, between) => {
        const answer = readOptions(insert(flags, at, ours).join(between), 'postgresql')
        const rest = flags.join(between)
        expect(answer).toEqual({ jwt: true, rest: rest === '' ? undefined : rest })
        expect(split(answer.rest ?? '', /[ \t-\r]/)).toEqual(split(rest, /[ \t-\r]/))
      }),
      { numRuns: 1000 },
    )
  })

  test('towards CockroachDB, the node reads the same settings without ours', () => {
    const text = fc
      .string({
        unit: fc.oneof(
          fc.constantFrom('%', '+', '\0', '\\', ' ', '\u2003', '-', 'A', '%41'),
          fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
        ),
      })
      .map((plain) => plain.replaceAll('=', '').replace(/[\p{White_Space}\\]/gu, '\\$&'))
    const setting = fc
      .tuple(fc.constantFrom('-c x', '-c\u3000x', '-cx', '--x', '-c -c x'), text, text)
      .map(([prefix, key, value]) => `${prefix}${key}=${value}`)
    const escapers = [
      encodeURIComponent,
      (plain: string) => plain.replace(/[%+]/g, encodeURIComponent),
      (plain: string) => plain.replace(/[%+ ]/g, (c) => (c === ' ' ? '+' : encodeURIComponent(c))),
    ]
    fc.assert(
      fc.property(
        fc.array(setting, { maxLength: 5 }),
        fc.nat(),
        fc.constantFrom(...escapers),
        fc.boolean(),
        (settings, at, escaped, keep) => {
          const all = escaped(insert(settings, at, '-c crdb:jwt-auth-enabled=1').join('  '))
          const addressed = `${all}${escaped(' --crdb:remote_addr=x')}`
          const expected = nodeSettings(keep ? all : escaped(settings.join(' ')))
          const answer = readOptions(addressed, 'cockroachdb', keep)
          expect(answer.jwt).toBe(true)
          expect(nodeSettings(answer.rest)).toEqual(expected)
        },
      ),
      { numRuns: 1000 },
    )
  })
})
