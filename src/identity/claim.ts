/**
 * The principals in a token's claim, which is named or pointed to (RFC 6901): one string, or every
 * element of an array; what is empty is none.
 * Rule: a number is its digits. A subject of 21 digits (Google's) must not become 1.13e+20, so where
 * JavaScript's numbers end the payload is read again for the digits themselves.
 */
import { Failure } from '../failure.ts'
import { lookUp, type Pointer, parsePointer } from './json_pointer.ts'

/**
 * @param payload - the verified payload's text, of which `claims` is the parsed value.
 * @throws Failure `missing_claim`, `failed_to_extract_claim`, or `invalid_claim_value` for JSON too deep
 *   to read again.
 */
export function principalNames(
  payload: string,
  claims: Record<string, unknown>,
  claim: string,
): string[] {
  const name = claim === '' ? 'sub' : claim
  const pointer = pointerTo(name)
  const value = at(claims, pointer, name)
  if (typeof value === 'string') return [value]
  try {
    const exact = at(exactly(payload), pointer, name)
    if (!Array.isArray(exact)) return [text(exact)]
    return exact.filter((each) => each !== null && each !== '').map(text)
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown
    const detail = `the value of the claim ${name} is nested too deeply`
    throw new Failure('invalid_claim_value', { detail })
  }
}

/** A name without a leading `/` is a claim at the top, dots and slashes included. */
function pointerTo(name: string): Pointer {
  if (!name.startsWith('/')) return [name]
  const parsed = parsePointer(name)
  if (parsed.ok) return parsed.pointer
  throw new Failure('failed_to_extract_claim', { detail: parsed.problem })
}

function at(claims: unknown, pointer: Pointer, name: string): unknown {
  const found = lookUp(claims, pointer, isRawJSON)
  if ('problem' in found)
    throw new Failure('failed_to_extract_claim', {
      detail: `failed to extract claim ${name}: ${found.problem}`,
    })
  if ('missing' in found || found.value === null || found.value === '')
    throw new Failure('missing_claim', { detail: `token does not contain a claim for ${name}` })
  return found.value
}

/** JSON.parse source text access, which TypeScript's library doesn't describe yet. */
const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(source: string): unknown
  isRawJSON(value: unknown): boolean
}

/** The payload with its numbers as they are written there. */
function exactly(payload: string): Record<string, unknown> {
  return JSON.parse(payload, (_key, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' ? rawJSON(context?.source ?? String(value)) : value,
  )
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
