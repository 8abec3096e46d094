/**
 * How long a fetched document may be used without asking again (RFC 9111, 4.2): what the issuer said in
 * so many words, by `max-age` or `Expires`, less the time that the answer has been under way.
 * Rule: nobody guesses. What is missing, said twice or not understood makes the document stale at once.
 */

export interface Received {
  /** Lower-case names, in order, duplicates kept. */
  headers: readonly (readonly [name: string, value: string])[]
  /** When the request was sent and the answer's headers had come; milliseconds since the epoch. */
  requestedMs: number
  receivedMs: number
}

export interface Freshness {
  /** The document may be kept, to be used while it is fresh. */
  kept: boolean
  /** It is fresh before this moment; it was never fresh if that is `receivedMs`. */
  freshUntilMs: number
}

const SECONDS_MAX = 2 ** 31

export function freshness({ headers, requestedMs, receivedMs }: Received): Freshness {
  const all = (name: string) => headers.filter(([each]) => each === name).map(([, value]) => value)
  const stale = { kept: true, freshUntilMs: receivedMs }
  const refused = { kept: false, freshUntilMs: receivedMs }

  // Line by line: a quote that doesn't end in one is not ended by the next one.
  const lines = all('cache-control').map(parseDirectives)
  if (lines.includes(undefined)) return refused
  const directives = lines.flatMap((line) => line ?? [])
  const told = (name: string) => directives.filter((directive) => directive.name === name)
  if (told('no-store').length > 0 || all('vary').join().includes('*')) return refused
  if (told('no-cache').length > 0) return stale

  const dateMs = parseDate(all('date')[0])
  const maxAge = told('max-age')
  const lifetimeMs =
    maxAge.length > 0
      ? onlyOne(maxAge.map(({ value }) => parseSeconds(value)))
      : lifetimeUntil(onlyOne(all('expires').map(parseDate)), dateMs ?? receivedMs)
  if (lifetimeMs === undefined) return stale

  // RFC 9111, 4.2.3: the larger of what the Date says and what the caches on the way say.
  const apparentMs = receivedMs - (dateMs ?? receivedMs)
  const toldMs = (parseSeconds(all('age')[0]) ?? 0) + (receivedMs - requestedMs)
  const ageMs = Math.max(apparentMs, toldMs, 0)
  return { kept: true, freshUntilMs: receivedMs + Math.max(lifetimeMs - ageMs, 0) }
}

interface Directive {
  name: string
  value: string | undefined
}

/** A quoted value may have commas in it. `undefined` where a quote doesn't end: anything may be in it. */
function parseDirectives(text: string): Directive[] | undefined {
  if (!/^(?:[^"]|"(?:[^"\\]|\\.)*")*$/s.test(text)) return undefined
  return [...text.matchAll(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/gs)].map(([directive]) => {
    const equals = directive.indexOf('=')
    const end = equals === -1 ? directive.length : equals
    return {
      name: directive.slice(0, end).trim().toLowerCase(),
      value: equals === -1 ? undefined : directive.slice(end + 1),
    }
  })
}

/** Said twice is as good as not said. */
function onlyOne(values: (number | undefined)[]): number | undefined {
  return values.length === 1 ? values[0] : undefined
}

function lifetimeUntil(expiresMs: number | undefined, fromMs: number): number | undefined {
  return expiresMs === undefined ? undefined : Math.min(expiresMs - fromMs, SECONDS_MAX * 1000)
}

/** RFC 9111, 1.2.2. @returns milliseconds. */
function parseSeconds(text: string | undefined): number | undefined {
  const digits = /^\s*("?)(\d+)\1\s*$/.exec(text ?? '')?.[2]
  return digits === undefined ? undefined : Math.min(Number(digits), SECONDS_MAX) * 1000
}

/** The three forms of RFC 9110, 5.6.7. The last one is of UTC too, without saying so. */
const IMF_FIXDATE = /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/
const RFC_850 = /^\w{6,9}, \d\d-\w{3}-\d\d \d\d:\d\d:\d\d GMT$/
const ASCTIME = /^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/

function parseDate(text = ''): number | undefined {
  const date = ASCTIME.test(text) ? `${text} GMT` : text
  if (date === text && !IMF_FIXDATE.test(text) && !RFC_850.test(text)) return undefined
  const ms = Date.parse(date)
  return Number.isNaN(ms) ? undefined : ms
}
