/**
 * CockroachDB's settings for tokens, in their documented forms and with their documented texts. A
 * value may also be written as YAML where the documentation has JSON inside a string.
 * Rule: what is not set accepts nothing.
 */
import { z } from 'zod'
import { parsePointer } from '../identity/json_pointer.ts'
import { parseKeySet } from '../identity/keys.ts'
import { shown } from './mistakes.ts'
import { certificateProblem } from './pem.ts'

/** JSON in a string, or the same as YAML. Every setting of this form has a default, or may be left out. */
const jsonOrText = z.unknown()

/** One literal, or a list of strings. `undefined` stands for JSON that is neither. */
function readList(value: unknown): readonly string[] | undefined {
  const read = parseJson(value)
  const list = read === undefined ? [value] : read.json
  return isStrings(list) ? list.filter((name) => name !== '') : undefined
}

export const audience = jsonOrText.transform((value, context) => {
  const list = readList(value)
  if (list !== undefined) return new Set(list)
  context.addIssue(
    `JWT authentication audiences JSON not valid: ${shown(value)}; write one audience, or a list like ["one", "two"]`,
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
  const jwksUris = readJwksMap(parseJson(value)?.json)
  if (jwksUris !== undefined) return { names: new Set(jwksUris.keys()), jwksUris }
  context.addIssue(
    `JWT authentication: issuers JSON not valid: ${shown(value)}; write one issuer, a list like ["one", "two"], or {"issuer_jwks_map": {"<issuer>": "<JWKS URI>"}}`,
  )
  return z.NEVER
})

/** One issuer, or a list: where their keys are is said elsewhere. */
export const issuerNames = jsonOrText.transform((value, context): ReadonlySet<string> => {
  const list = readList(value)
  if (list !== undefined) return new Set(list)
  context.addIssue(
    `issuers JSON not valid: ${shown(value)}; write one issuer, or a list like ["one", "two"]`,
  )
  return z.NEVER
})

export const jwks = jsonOrText.transform((value, context) => {
  const read = parseJson(value)
  const result = read === undefined ? undefined : parseKeySet(read.json)
  if (result?.ok) return result.keys
  const problem = result?.problem ?? 'it is not JSON; write the set as the issuer publishes it'
  context.addIssue(`JWT authentication JWKS not a valid JWKS: ${problem}`)
  return z.NEVER
})

/** A claim's name, or a JSON Pointer to it; empty is `sub`. */
export const claim = z.string().transform((name, context) => {
  const parsed = name.startsWith('/') ? parsePointer(name) : undefined
  if (parsed === undefined || parsed.ok) return name
  context.addIssue(parsed.problem)
  return z.NEVER
})

/** Certificates of the CAs that issuers' own may come from: PEM text, as CockroachDB has it. */
export const caPem = z.string().transform((text, context) => {
  if (text === '') return undefined
  if (certificateProblem(text) === undefined) return text
  context.addIssue(
    'JWT authentication issuer custom CA certificate not valid: write certificates in PEM, or {file: ca.crt}',
  )
  return z.NEVER
})

/** Where groups are: one name at the top of the token, or of the answer. */
export const groupKey = z.string().transform((text, context) => {
  const problem = groupKeyProblem(text)
  if (problem === undefined) return text.trim()
  context.addIssue(`JWT authentication: ${problem}`)
  return z.NEVER
})

function groupKeyProblem(text: string): string | undefined {
  if (text.trim() === '') return 'value cannot be empty'
  const names = text.split(',').map((name) => name.trim())
  if (names.includes('')) return 'empty token in list'
  const wrong = names.find((name) => !/^[\p{L}\p{Nd}_.-]+$/u.test(name))
  if (wrong !== undefined) return `${shown(wrong)} contains invalid characters`
  // CockroachDB takes a list, and then looks for one claim with that very name.
  return names.length > 1 ? 'name one claim; a list of them is not looked through' : undefined
}

function readJwksMap(json: unknown): ReadonlyMap<string, string> | undefined {
  const form = z.strictObject({ issuer_jwks_map: z.record(z.string(), z.string()) })
  const read = form.safeParse(json)
  return read.success ? new Map(Object.entries(read.data.issuer_jwks_map)) : undefined
}

/** @returns undefined for text that is not JSON. */
function parseJson(value: unknown): { json: unknown } | undefined {
  if (typeof value !== 'string') return { json: value }
  try {
    return { json: JSON.parse(value) }
  } catch {
    return undefined
  }
}

function isStrings(json: unknown): json is string[] {
  return Array.isArray(json) && json.every((each) => typeof each === 'string')
}
