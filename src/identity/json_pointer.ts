/**
 * JSON Pointer (RFC 6901): the way to a claim inside a claim, as Kubernetes' tokens have them. The
 * bounds and the texts are CockroachDB's.
 */
import { quoted } from './quoted.ts'

const SEGMENTS_MAX = 10

export type Pointer = readonly string[]

export type PointerResult = { ok: true; pointer: Pointer } | { ok: false; problem: string }

/** @param text - begins with `/`. */
export function parsePointer(text: string): PointerResult {
  const segments = text.split('/').slice(1)
  const name = `JWT authentication: JSON Pointer ${JSON.stringify(text)}`
  if (segments.includes('')) return { ok: false, problem: `${name} contains an empty segment` }
  if (segments.length > SEGMENTS_MAX)
    return { ok: false, problem: `${name} exceeds maximum depth of ${SEGMENTS_MAX} segments` }
  if (segments.some((segment) => /~(?![01])/.test(segment)))
    return { ok: false, problem: `${name} contains a "~" that is neither ~0 nor ~1` }
  const unescaped = segments.map((each) => each.replaceAll('~1', '/').replaceAll('~0', '~'))
  return { ok: true, pointer: unescaped }
}

export type Found = { value: unknown } | { missing: true } | { problem: string }

/** @param isScalar - says of an object that it stands for a value and has nothing inside. */
export function lookUp(
  document: unknown,
  pointer: Pointer,
  isScalar: (value: object) => boolean = () => false,
): Found {
  let value = document
  for (const [depth, segment] of pointer.entries()) {
    if (Array.isArray(value)) {
      const index = indexOf(segment)
      if (index === undefined)
        return { problem: `JSON pointer: invalid array index ${JSON.stringify(quoted(segment))}` }
      if (index >= value.length)
        return { problem: `JSON pointer: array index ${index} out of bounds (len ${value.length})` }
      value = value[index]
    } else if (typeof value === 'object' && value !== null && !isScalar(value)) {
      if (!Object.hasOwn(value, segment)) return { missing: true }
      value = (value as Record<string, unknown>)[segment]
    } else {
      const at = JSON.stringify(`/${pointer.slice(0, depth).join('/')}`)
      return { problem: `JSON pointer: value at ${at} is neither an object nor an array` }
    }
  }
  return { value }
}

/** Base ten, without a leading zero. */
function indexOf(segment: string): number | undefined {
  return /^(?:0|[1-9]\d{0,8})$/.test(segment) ? Number(segment) : undefined
}
