/**
 * `tls-server-end-point`: the node's certificate as channel binding has it, so that a proof that is
 * made on this connection is worth nothing on another one. https://www.rfc-editor.org/rfc/rfc5929#section-4.1
 */
import 'reflect-metadata'
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { X509Certificate as Certificate } from '@peculiar/x509'

const HASHES: ReadonlyMap<string, string> = new Map([
  // Too weak by themselves: the RFC has SHA-256 in their place.
  ['SHA-1', 'sha256'],
  ['SHA-256', 'sha256'],
  ['SHA-384', 'sha384'],
  ['SHA-512', 'sha512'],
])

/** @returns undefined without TLS, and for a certificate whose signature names no hash (Ed25519) */
export function endPointOf(socket: Socket): Buffer | undefined {
  const peer = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
  if (peer === undefined) return undefined
  const { hash: named } = new Certificate(peer.raw).signatureAlgorithm as {
    hash?: { name: string }
  }
  const hash = HASHES.get(named?.name ?? '')
  return hash === undefined ? undefined : createHash(hash).update(peer.raw).digest()
}
