/**
 * A value against its schema, and every mistake in it as a sentence. Rule: a sentence says what to
 * write instead; zod's own words come through only where a schema has none of its own.
 */
import type { z } from 'zod'

export interface Mistake {
  path: PropertyKey[]
  message: string
  /** The path names a key that is itself the mistake. */
  key: boolean
}

export type Checked<T> = { ok: true; value: T } | { ok: false; mistakes: Mistake[] }

export function check<T>(schema: z.ZodType<T>, value: unknown): Checked<T> {
  const read = schema.safeParse(value, { error: sentence, reportInput: true })
  if (read.success) return { ok: true, value: read.data }
  return { ok: false, mistakes: read.error.issues.flatMap(mistakesOf) }
}

/** What a schema within a schema found, passed on as it is. */
export function passOn(mistakes: readonly Mistake[], context: z.RefinementCtx): void {
  for (const { path, message, key } of mistakes)
    context.addIssue({ code: 'custom', path, message, params: { key } })
}

/** A value as it is quoted in a sentence. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(cut(value))
  return cut(JSON.stringify(value) ?? String(value))
}

/** The first few of many values. */
export function listed(values: readonly string[]): string {
  const more = values.length > LISTED_MAX ? ` and ${values.length - LISTED_MAX} more` : ''
  return `${values.slice(0, LISTED_MAX).map(shown).join(', ')}${more}`
}

const LISTED_MAX = 3

function cut(text: string): string {
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}…`
}

const SHOWN_CHARACTERS_MAX = 80

function mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
  const { path, message } = issue
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      path: [...path, key],
      message: `unknown key ${shown(key)}`,
      key: true,
    }))
  return [{ path, message, key: issue.code === 'custom' && issue.params?.key === true }]
}

const EXPECTED = new Map([
  ['string', 'text'],
  ['int', 'a whole number'],
  ['number', 'a whole number'],
  ['boolean', 'true or false'],
  ['array', 'a list'],
  ['object', 'keys with their values'],
  ['record', 'names with their values'],
])

function sentence(issue: z.core.$ZodRawIssue): string | undefined {
  const wanted = wantedBy(issue)
  if (wanted === undefined) return undefined
  const name = shown(String(issue.path?.at(-1) ?? 'the file'))
  if (issue.input === undefined) return `${name} is required`
  if (issue.input === null) return `${name} has no value; write ${wanted}`
  return `write ${wanted}, not ${shown(issue.input)}`
}

function wantedBy(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') return EXPECTED.get(String(issue.expected))
  if (issue.code === 'invalid_value' && Array.isArray(issue.values))
    return issue.values.map(String).join(' or ')
  return undefined
}
