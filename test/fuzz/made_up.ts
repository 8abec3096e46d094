/**
 * What the targets' cases are made of: bytes and texts that are nearly right, values of any JSON type, and
 * JSON text that no library would write. Everything here shrinks, and prints as what it is.
 */
import fc from 'fast-check'

/** An edit of bytes or of a text: so many are dropped at a place, and others put there. */
export interface Edit<T> {
  at: number
  drop: number
  put: T
}

const NUMBERS = [0, 1, 3, 4, 8, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff]

const oddBytes = fc.oneof(
  fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(...NUMBERS).map(int32),
  fc.constantFrom(...NUMBERS).map((number) => int32(number).subarray(2)),
)

export function bytes(maxLength: number): fc.Arbitrary<Buffer> {
  return fc.uint8Array({ maxLength, size: 'max' }).map((each) => Buffer.from(each))
}

export function int32(number: number): Buffer {
  const four = Buffer.alloc(4)
  four.writeUInt32BE(number >>> 0)
  return four
}

/** As they are, or with a few edits. */
export function nearly(right: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc
    .tuple(right, few(edits(oddBytes)))
    .map(([whole, wrong]) => wrong.reduce(editBytes, Buffer.from(whole)))
}

function editBytes(whole: Buffer, { at, drop, put }: Edit<Buffer>): Buffer {
  const place = at % (whole.length + 1)
  return Buffer.concat([whole.subarray(0, place), put, whole.subarray(place + drop)])
}

/** As it is, or with a few edits. @param pieces - what is put into it, beside odd texts. */
export function nearlyText(
  right: fc.Arbitrary<string>,
  pieces: readonly string[] = [],
): fc.Arbitrary<string> {
  const put = pieces.length > 0 ? fc.oneof(fc.constantFrom(...pieces), oddText) : oddText
  return fc.tuple(right, few(edits(put))).map(([whole, wrong]) => wrong.reduce(editText, whole))
}

export function editText(whole: string, { at, drop, put }: Edit<string>): string {
  const place = at % (whole.length + 1)
  return whole.slice(0, place) + put + whole.slice(place + drop)
}

export function edits<T>(put: fc.Arbitrary<T>): fc.Arbitrary<Edit<T>> {
  const drop = fc.oneof(fc.constantFrom(0, 1, 1, 2, 4), fc.nat(40))
  return fc.record({ at: fc.nat(100_000), drop, put })
}

/** None, one, or some. */
export function few<T>(each: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.oneof(
    { weight: 1, arbitrary: fc.constant<T[]>([]) },
    { weight: 4, arbitrary: fc.array(each, { minLength: 1, maxLength: 1 }) },
    { weight: 2, arbitrary: fc.array(each, { maxLength: 5 }) },
  )
}

/** Where bytes are cut on their way. */
export const places = fc.oneof(
  fc.array(fc.nat(100_000), { maxLength: 6 }),
  fc.constant('each' as const),
)
export type Places = number[] | 'each'

/** Copies, since who reads them wipes them. */
export function cut(whole: Buffer, at: Places): Buffer[] {
  if (at === 'each') return Array.from(whole, (byte) => Buffer.from([byte]))
  const sorted = at.map((place) => place % (whole.length + 1)).sort((a, b) => a - b)
  const ends = [...sorted, whole.length]
  return ends.map((end, index) => Buffer.from(whole.subarray(ends[index - 1] ?? 0, end)))
}

/** Of any code points, halves of surrogate pairs among them. */
export function anyCharacters(maxLength: number): fc.Arbitrary<string> {
  const unit = fc
    .oneof(fc.nat(0x10ffff), fc.nat(0xff), fc.nat(0xffff))
    .map((code) => String.fromCodePoint(code))
  return fc.string({ unit, maxLength })
}

/** Texts that programs stumble over. */
export const oddText = fc.oneof(
  { weight: 3, arbitrary: fc.string({ maxLength: 8 }) },
  { weight: 2, arbitrary: anyCharacters(6) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...['', ' ', '\0', '\n', '\r\n', '\t', '\\', '"', "'", '$', '%', '%00', '#', '/', '..', '~'],
      ...['__proto__', 'constructor', 'toString', 'length', 'null', 'undefined', 'NaN', 'true'],
      ...['\ud800', '\udc00', '\u202e', '\ufeff', '\u0085', '\u001b[2J', 'İ', 'ı', 'ß', 'é', 'ﬁ'],
      ...['0', '-1', '1e999', '9007199254740993', '4294967296', `\${env:X}`, '{file: x}'],
    ),
  },
  { weight: 1, arbitrary: fc.nat(300).map((count) => 'x'.repeat(count)) },
)

export const oddNumber = fc.oneof(
  fc.constantFrom(0, -0, -1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2, 1e21, 1e308, 5e-324),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
)

/** A value of any JSON type. @param keys - that members have, beside odd ones. */
export function anyJson(keys: readonly string[] = []): fc.Arbitrary<unknown> {
  const name = keys.length > 0 ? fc.oneof(fc.constantFrom(...keys), oddText) : oddText
  return fc.letrec<{ any: unknown }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'json' },
      fc.oneof(fc.constantFrom(null, true, false), oddNumber, oddText),
      fc.array(tie('any'), { maxLength: 4, depthIdentifier: 'json' }),
      // Made of entries: a member may be called __proto__.
      fc
        .array(fc.tuple(name, tie('any')), { maxLength: 4, depthIdentifier: 'json' })
        .map(Object.fromEntries),
    ),
  })).any
}

const numberText = fc.oneof(
  fc.constantFrom('0', '-0', '1E5', '1e999', '-1e999', '1e-999', '0.1', '9007199254740993'),
  fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(String),
  oddNumber.map((number) => JSON.stringify(number)),
)

const stringText = fc.oneof(
  oddText.map((text) => JSON.stringify(text)),
  fc.constantFrom('"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', '"\\/"', '"a\\u0062"'),
)

/** Deeper than a stack is; with an end, or without one. */
export const deepJson = fc
  .tuple(
    fc.constantFrom('[', '{"a":', '[{"a":'),
    fc.constantFrom(10, 10, 10, 1_000, 1_000, 1_000, 1_000, 50_000),
    fc.boolean(),
  )
  .map(([open, depth, closed]) => {
    const close = open === '[' ? ']' : open === '[{"a":' ? '}]' : '}'
    return `${open.repeat(depth)}1${closed ? close.repeat(depth) : ''}`
  })

/** JSON as text: keys that come twice, numbers that no double holds, nested without end, or broken. */
export function jsonText(keys: readonly string[]): fc.Arbitrary<string> {
  const name = fc.oneof(
    fc.constantFrom(...keys).map((key) => JSON.stringify(key)),
    stringText,
  )
  const join = (parts: string[], open: string, close: string) => `${open}${parts.join(',')}${close}`
  const { any } = fc.letrec<{ any: string }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'text' },
      fc.oneof(fc.constantFrom('null', 'true', 'false'), numberText, stringText),
      fc
        .array(tie('any'), { maxLength: 4, depthIdentifier: 'text' })
        .map((all) => join(all, '[', ']')),
      fc
        .array(fc.tuple(name, tie('any')), { maxLength: 5, depthIdentifier: 'text' })
        .map((members) =>
          join(
            members.map((pair) => pair.join(':')),
            '{',
            '}',
          ),
        ),
    ),
  }))
  return fc.oneof(
    { weight: 20, arbitrary: any },
    { weight: 4, arbitrary: nearlyText(any, ['{', '}', '[', ']', ':', ',', '"', '\\u', 'e']) },
    { weight: 1, arbitrary: deepJson },
  )
}

/** IP addresses, and what looks like one. */
export const addressText = nearlyText(
  fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.ipV4Extended(),
    fc.ipV4().map((address) => `::ffff:${address}`),
    fc.constantFrom('localhost', '::1', '127.0.0.1', '0.0.0.0', '::', 'fe80::1%eth0', '[::1]'),
  ),
  [':', '.', '%', '/', '::', '0', 'ffff', ' '],
)
