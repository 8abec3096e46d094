/** DER, as far as a test looks into a certificate: so that no library judges its own encoding. */

export interface Value {
  tag: number
  body: Buffer
}

/** The values that stand one after the other. */
export function valuesIn(der: Buffer): Value[] {
  const found: Value[] = []
  for (let at = 0; at < der.length; ) {
    const tag = der.readUInt8(at)
    const short = der.readUInt8(at + 1)
    const bytes = short > 0x80 ? short - 0x80 : 0
    const size = bytes === 0 ? short : der.readUIntBE(at + 2, bytes)
    const from = at + 2 + bytes
    found.push({ tag, body: der.subarray(from, from + size) })
    at = from + size
  }
  return found
}

/** The value at a path of places, from a certificate's outermost SEQUENCE on. */
export function valueAt(der: Buffer, ...path: number[]): Value {
  let value: Value | undefined = { tag: 0, body: der }
  for (const place of [0, ...path]) value = valuesIn(value?.body ?? Buffer.alloc(0))[place]
  if (value === undefined) throw new Error(`nothing at ${path.join('.')}`)
  return value
}

/** Where in a certificate they are. https://www.rfc-editor.org/rfc/rfc5280#section-4.1 */
export const ISSUER = [0, 3]
export const SUBJECT = [0, 5]
export const EXTENSIONS = [0, 7, 0]
