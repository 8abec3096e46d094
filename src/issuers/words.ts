/**
 * Why something could not be had of an issuer, in words for the log.
 * Rule: no credential is in them, whoever says it again.
 */
import { Failure } from '../failure.ts'

export function reason(thrown: unknown): string {
  if (thrown instanceof Failure) return thrown.log ?? thrown.message
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** Who was shown a credential may say it again: in a redirect, a header, a document. (A host is in lower case.) */
export function without(credential: string | undefined, text: string): string {
  if (credential === undefined || credential === '') return text
  const written = credential.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return text.replace(new RegExp(written, 'gi'), '[secret]')
}
