/**
 * CockroachDB's settings for tokens, in their documented forms and with their documented texts. A
 * value may also be written as YAML where the documentation has JSON inside a string.
 * Rule: what is not set accepts nothing.
 */
import { z } from 'zod'
import { parseKeySet } from '../identity/keys.ts'
import { quote } from './values.ts'

/** JSON in a string, or the same as YAML. */
const jsonOrText = z.union([z.string(), z.array(z.unknown()), z.record(z.string(), z.unknown())])

/** One literal, or a list of strings. `undefined` stands for JSON that is neither. */
function readList(value: z.infer<typeof jsonOrText>): readonly string[] | undefined {
  const read = typeof value === 'string' ? parseJson(value) : { json: value }
  if (read === undefined) return value === '' ? [] : [value as string]
  return isStrings(read.json) ? read.json : undefined
}

export const audience = jsonOrText.transform((value, context) => {
  const list = readList(value)
  if (list !== undefined) return new Set(list)
  context.addIssue(
    `JWT authentication audiences JSON not valid: ${quote(print(value))}; write one audience, or a list of strings`,
  )
  return z.NEVER
})

/** Issuers by name. The map form names the place of their keys as well. */
export interface Issuers {
  names: ReadonlySet<string>
  jwksUris: ReadonlyMap<string, string>
}

export const issuers = jsonOrText.transform((value, context): Issuers => {
  const list = readList(value)
  if (list !== undefined) return { names: new Set(list), jwksUris: new Map() }
  const jwksUris = readJwksMap(typeof value === 'string' ? parseJson(value)?.json : value)
  if (jwksUris !== undefined) return { names: new Set(jwksUris.keys()), jwksUris }
  context.addIssue(
    `JWT authentication: issuers JSON not valid: ${quote(print(value))}; write one issuer, a list of strings, or {"issuer_jwks_map": {"<issuer>": "<JWKS URI>"}}`,
  )
  return z.NEVER
})

export const jwks = jsonOrText.transform((value, context) => {
  const read = typeof value === 'string' ? parseJson(value) : { json: value }
  const result = read === undefined ? undefined : parseKeySet(read.json)
  if (result?.ok) return result.keys
  const problem = result?.problem ?? 'it is not JSON'
  context.addIssue(`JWT authentication JWKS not a valid JWKS: ${problem}`)
  return z.NEVER
})

/** A claim's name; empty is `sub`. */
export const claim = z.string().transform((name, context) => {
  if (!name.startsWith('/')) return name
  context.addIssue('a claim given as a JSON Pointer is not supported yet; name a top-level claim')
  return z.NEVER
})

function readJwksMap(json: unknown): ReadonlyMap<string, string> | undefined {
  const form = z.strictObject({ issuer_jwks_map: z.record(z.string(), z.string()) })
  const read = form.safeParse(json)
  return read.success ? new Map(Object.entries(read.data.issuer_jwks_map)) : undefined
}

function parseJson(text: string): { json: unknown } | undefined {
  try {
    return { json: JSON.parse(text) }
  } catch {
    return undefined
  }
}

function isStrings(json: unknown): json is string[] {
  return Array.isArray(json) && json.every((each) => typeof each === 'string')
}

function print(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
