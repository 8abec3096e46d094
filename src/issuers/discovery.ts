/**
 * An issuer's OpenID configuration: where it is, and what we read in it. Nothing here fetches.
 * https://openid.net/specs/openid-connect-discovery-1_0.html, sections 3 and 4
 * Rule: a document that names another issuer says nothing about ours.
 */
import { quoted } from '../identity/quoted.ts'

/** The members are read by who needs them: an issuer without userinfo has good keys all the same. */
export type Discovery = Readonly<Record<string, unknown>>

export function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}

/** @throws Error, with a message for the log. */
export function parseDiscovery(body: string, issuer: string): Discovery {
  const document = jsonObject(body)
  if (document === undefined) throw new Error('the OpenID configuration is not a JSON object')
  if (document.issuer === issuer) return document
  const named = typeof document.issuer === 'string' ? document.issuer : ''
  throw new Error(`issuer did not match: ${quoted(issuer)} was asked for, got ${quoted(named)}`)
}

/** @throws Error, with a message for the log. */
export function jwksUri(document: Discovery): string {
  const uri = document.jwks_uri
  if (uri === undefined || uri === null || uri === '')
    throw new Error('no JWKS URI found in OpenID configuration')
  if (!isAddress(uri, document.issuer)) throw new Error('invalid JWKS URI in OpenID configuration')
  return uri
}

/**
 * @returns undefined where the issuer has none.
 * @throws Error, with a message for the log.
 */
export function userinfoEndpoint(document: Discovery): string | undefined {
  const uri = document.userinfo_endpoint
  if (uri === undefined || uri === null || uri === '') return undefined
  if (!isAddress(uri, document.issuer))
    throw new Error('invalid userinfo endpoint in OpenID configuration')
  return uri
}

/** An object that JSON text holds; undefined for all else. */
export function jsonObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/**
 * Absolute, with a host, and https; http only from an issuer that is reached so itself. `https:host`
 * and `https:/host`, which the URL parser mends, are no addresses.
 */
function isAddress(uri: unknown, issuer: unknown): uri is string {
  if (typeof uri !== 'string' || !URL.canParse(uri)) return false
  if (/^https:\/\/[^/\\]/i.test(uri)) return true
  return /^http:\/\/[^/\\]/i.test(uri) && /^http:/i.test(String(issuer))
}
