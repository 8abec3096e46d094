/**
 * The principals in a token's claim: one string, or every element of an array; what is empty is none.
 * Rule: a number is its digits. A subject of 21 digits (Google's) must not become 1.13e+20, so where
 * JavaScript's numbers end the payload is read again for the digits themselves.
 */
import { Failure } from '../failure.ts'

/**
 * @param payload - the verified payload's text, of which `claims` is the parsed value.
 * @throws Failure `missing_claim`, or `invalid_claim_value` for JSON too deep to read again.
 */
export function principalNames(
  payload: string,
  claims: Record<string, unknown>,
  claim: string,
): string[] {
  const name = claim === '' ? 'sub' : claim
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (value === undefined || value === null || value === '')
    throw new Failure('missing_claim', { detail: `token does not contain a claim for ${name}` })
  if (typeof value === 'string') return [value]
  try {
    const exact = exactly(payload)[name]
    if (!Array.isArray(exact)) return [text(exact)]
    return exact.filter((each) => each !== null && each !== '').map(text)
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown
    const detail = `the value of the claim ${name} is nested too deeply`
    throw new Failure('invalid_claim_value', { detail })
  }
}

/** JSON.parse source text access, which TypeScript's library doesn't describe yet. */
const { rawJSON } = JSON as unknown as { rawJSON(source: string): unknown }

/** The payload with its numbers as they are written there. */
function exactly(payload: string): Record<string, unknown> {
  return JSON.parse(payload, (_key, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' ? rawJSON(context?.source ?? String(value)) : value,
  )
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
