/**
 * Cancel keys: what a client gets in the place of the node's. Twelve bits say which worker gave the
 * key, the rest is random: 52 bits in the eight bytes of protocol 3.0, 276 in the 36 of 3.2. A
 * CancelRequest proves nothing but that it knows them; with the short ones it also has to come from the
 * session's own address, which makes of 52 bits that can be guessed at 52 bits for one address.
 * Rule: looked up by a salted digest and compared in constant time; nothing is ever answered.
 */
import { hash, timingSafeEqual } from 'node:crypto'
import type { Node } from '../cluster/node.ts'
import { openRandomBytes } from '../random.ts'

/** Process id and secret, by the client's minor version of the protocol. */
const KEY_BYTES = 4 + 4
const KEY_BYTES_3_2 = 4 + 32
const WORKERS_MAX = 0xfff

/**
 * What a key stands for: the session's node and the node's own key, a character a byte (as is all that is
 * kept here: a short Buffer may keep kilobytes that it was cut from).
 */
export interface CancelTarget {
  node: Node
  key: string
  /** Somebody had the key found: the node may act on it late, whatever the session does by then. */
  wanted: boolean
}

export interface CancelKeys {
  /**
   * A new key for the session of a client that speaks 3.`minor`, at an address as `addressOf` has it; it
   * holds until `revoke`.
   */
  issue(target: CancelTarget, from: string, minor: number): { key: Buffer; revoke(): void }
  /** @param from - where the cancel comes from, as `addressOf` has it. */
  find(key: Buffer, from: string): CancelTarget | undefined
}

/** Whether the bytes may be the key of any worker of any gate. */
export function isCancelKey({ length }: Buffer): boolean {
  return length === KEY_BYTES || length === KEY_BYTES_3_2
}

/** The number of the worker that gave a key. */
export function workerOf(key: Buffer): number {
  return key.readUInt16BE(0) >>> 4
}

const UNIX_SOCKET = 'local'

/** A client's address to be compared: one spelling, and no port. */
export function addressOf(client: { address: string } | 'unix'): string {
  return client === 'unix' ? UNIX_SOCKET : client.address.replace(/^::ffff:(?=[\d.]+$)/i, '')
}

/** @param worker - 0 to 4095 */
export function openCancelKeys(worker: number): CancelKeys {
  const randomBytes = openRandomBytes()
  const salt = randomBytes(16)
  const sessions = new Map<string, { key: string; target: CancelTarget; from: string }>()
  const digest = (key: Buffer) => hash('sha256', Buffer.concat([salt, key]), 'base64')
  return {
    issue(target, from, minor) {
      const key = randomBytes(minor >= 2 ? KEY_BYTES_3_2 : KEY_BYTES)
      key.writeUInt16BE(((worker & WORKERS_MAX) << 4) | (key.readUInt8(1) & 0xf), 0)
      const name = digest(key)
      sessions.set(name, { key: key.toString('latin1'), target, from })
      return { key, revoke: () => void sessions.delete(name) }
    },
    find(key, from) {
      const session = sessions.get(digest(key))
      if (session === undefined || session.key.length !== key.length) return undefined
      if (!timingSafeEqual(Buffer.from(session.key, 'latin1'), key)) return undefined
      // 276 bits are nobody's guess, and a client may have more than one address.
      const isShort = key.length === KEY_BYTES
      if (isShort && session.from !== from) return undefined
      session.target.wanted = true
      return session.target
    },
  }
}
