/**
 * Cancel keys: what a client gets in the place of the node's. Twelve bits say which worker gave the
 * key, the rest is random: 52 bits in the eight bytes of protocol 3.0, 276 in the 36 of 3.2. A
 * CancelRequest proves nothing but that it knows them.
 * Rule: looked up by a salted digest and compared in constant time; nothing is ever answered.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Node } from '../cluster/node.ts'

/** Process id and secret, by the client's minor version of the protocol. */
const KEY_BYTES = 4 + 4
const KEY_BYTES_3_2 = 4 + 32
const WORKERS_MAX = 0xfff

/** What a key stands for: the session's node and the node's own key. */
export interface CancelTarget {
  node: Node
  key: Buffer
  /** Somebody had the key found: the node may act on it late, whatever the session does by then. */
  wanted: boolean
}

export interface CancelKeys {
  /** A new key for the session of a client that speaks 3.`minor`; it holds until `revoke`. */
  issue(target: CancelTarget, minor: number): { key: Buffer; revoke(): void }
  find(key: Buffer): CancelTarget | undefined
  /** Whether this worker gave the key. */
  isOurs(key: Buffer): boolean
}

/** The number of the worker that gave a key of at least two bytes. */
export function workerOf(key: Buffer): number {
  return key.readUInt16BE(0) >>> 4
}

/** @param worker - 0 to 4095 */
export function openCancelKeys(worker: number): CancelKeys {
  const salt = randomBytes(16)
  const sessions = new Map<string, { key: Buffer; target: CancelTarget }>()
  const digest = (key: Buffer) => hash('sha256', Buffer.concat([salt, key]))
  return {
    issue(target, minor) {
      const key = randomBytes(minor >= 2 ? KEY_BYTES_3_2 : KEY_BYTES)
      key.writeUInt16BE(((worker & WORKERS_MAX) << 4) | (key.readUInt8(1) & 0xf), 0)
      const name = digest(key)
      sessions.set(name, { key, target })
      return { key, revoke: () => void sessions.delete(name) }
    },
    find(key) {
      const session = sessions.get(digest(key))
      if (session === undefined || session.key.length !== key.length) return undefined
      if (!timingSafeEqual(session.key, key)) return undefined
      session.target.wanted = true
      return session.target
    },
    isOurs: (key) => workerOf(key) === worker,
  }
}
