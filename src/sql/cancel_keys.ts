/**
 * Cancel keys: what a client gets in the place of the node's. Eight bytes: twelve bits say which
 * worker gave the key, fifty-two are random. A CancelRequest proves nothing but that it knows them.
 * Rule: looked up by a salted digest and compared in constant time; nothing is ever answered.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Node } from '../cluster/node.ts'

const KEY_BYTES = 8
const WORKERS_MAX = 0xfff

/** What a key stands for: the session's node and the node's own key. */
export interface CancelTarget {
  node: Node
  key: Buffer
}

export interface CancelKeys {
  /** A new key for the session; it holds until `revoke`. */
  issue(target: CancelTarget): { key: Buffer; revoke(): void }
  find(key: Buffer): CancelTarget | undefined
  /** Whether this worker gave the key. */
  isOurs(key: Buffer): boolean
}

/** @param worker - 0 to 4095 */
export function openCancelKeys(worker: number): CancelKeys {
  const salt = randomBytes(16)
  const sessions = new Map<string, { key: Buffer; target: CancelTarget }>()
  const digest = (key: Buffer) => hash('sha256', Buffer.concat([salt, key]))
  return {
    issue(target) {
      const key = randomBytes(KEY_BYTES)
      key.writeUInt16BE(((worker & WORKERS_MAX) << 4) | (key.readUInt8(1) & 0xf), 0)
      const name = digest(key)
      sessions.set(name, { key, target })
      return { key, revoke: () => void sessions.delete(name) }
    },
    find(key) {
      const session = sessions.get(digest(key))
      return session !== undefined && timingSafeEqual(session.key, key) ? session.target : undefined
    },
    isOurs: (key) => key.length === KEY_BYTES && key.readUInt16BE(0) >>> 4 === worker,
  }
}
