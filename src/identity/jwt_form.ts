/**
 * Whether a password has the form of a token, before anybody asks whose it is: three parts in
 * base64url, the first of which is a JSON object that names an algorithm. RFC 7519 section 7.2.
 * Rule: this says how to treat it, and nothing about whether it is good.
 */
import { decodeProtectedHeader } from 'jose'
import type { Secret } from '../secret.ts'

export function hasJwtForm(password: Secret): boolean {
  const text = password.reveal().trim()
  if (!/^[\w-]+\.[\w-]*\.[\w-]*$/.test(text)) return false
  try {
    return typeof decodeProtectedHeader(text).alg === 'string'
  } catch {
    return false
  }
}
