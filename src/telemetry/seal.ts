/**
 * The seal of the audit stream: each line carries its number, and a code (HMAC-SHA256, RFC 2104) over
 * itself and the code of the line before it. Whoever hasn't the key can't change a line, take one out or
 * put one in without its showing. Pure: what a line looks like, and what is read of one.
 * Rule: a chain begins with a line of its own, which names the line before it where that one is known.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { Secret } from '../secret.ts'

/** What a line says of its place. */
export interface Sealed {
  seq: number
  /** In base64url, without padding. */
  mac: string
}

/** The last line of a chain: who keeps it elsewhere can tell later whether something is missing. */
export interface Head extends Sealed {
  chain: string
}

export interface SealKey {
  /** Tells keys apart, and nothing about them. */
  id: string
  key: KeyObject
}

/** Why a chain begins: the gate was started, another file was begun, a line could not be written. */
export type Why = 'start' | 'file' | 'failure'

/** The first line of a chain, beside what all lines have. */
export interface SealBegin {
  EventType: 'seal_begin'
  Version: typeof VERSION
  Chain: string
  KeyID: string
  Why: Why
  /** The line before it; with its chain where it is a head's, and more may have come. Null where none is known. */
  Previous: { Chain?: string; Seq: number; Mac: string } | null
}

export const VERSION = 1
export const KEY_BYTES_MIN = 32
const KEY_ID_HEX = 16
const MAC_CHARACTERS = 43
/** Of the end of a line: `,"Mac":"…"}` */
const MAC_BYTES = ',"Mac":""}'.length + MAC_CHARACTERS
const SEQ_BYTES_MAX = ',"Seq":'.length + String(Number.MAX_SAFE_INTEGER).length
/** What stands in the place of a code before the first line. */
export const NO_MAC: Uint8Array = new Uint8Array(32)

/** The text of a key's file: one line. @returns undefined where it is no key */
export function keyIn(text: string): Secret | undefined {
  const line = text.replace(/\r?\n$/, '')
  return KEY.test(line) ? new Secret(line) : undefined
}

/** What people can see, so that no editor and no encoding makes another key of it. */
const KEY = new RegExp(`^[!-~]{${KEY_BYTES_MIN},4096}$`)

/** @param secret - at least `KEY_BYTES_MIN` bytes. */
export function sealKey(secret: Secret): SealKey {
  const key = createSecretKey(secret.reveal(), 'utf8')
  // Shorter than what a line's code is made of, so it is none of those.
  const id = createHmac('sha256', key).update('key id').digest('hex').slice(0, KEY_ID_HEX)
  return { id, key }
}

/** @param text - the line up to its code. */
export function macOf(key: KeyObject, previous: Uint8Array, text: Uint8Array | string): Buffer {
  return createHmac('sha256', key).update(previous).update(text).digest()
}

export interface Chain {
  /** Of its last line that was written; undefined before the first one. */
  readonly head: Head | undefined
  /**
   * The next line in its sealed form.
   * @param line - a JSON object and a line feed
   * @returns with what to call once it is written
   */
  next(line: string): { line: string; written(): void }
}

/** @param id - nobody else's: chains are told apart by it. */
export function openChain({ key }: SealKey, id: string): Chain {
  let seq = -1
  let mac = NO_MAC
  let written: string | undefined
  return {
    get head() {
      return written === undefined ? undefined : { chain: id, seq, mac: written }
    },
    next(line) {
      const text = `${line.slice(0, -'}\n'.length)},"Seq":${seq + 1}`
      const code = macOf(key, mac, text)
      const shown = code.toString('base64url')
      return {
        line: `${text},"Mac":"${shown}"}\n`,
        written() {
          seq++
          mac = code
          written = shown
        },
      }
    },
  }
}

/** @param line - without its line feed. @returns undefined for one that is not sealed */
export function readSeal(line: Uint8Array): (Sealed & { text: Uint8Array }) | undefined {
  const end = line.length - MAC_BYTES
  if (end < 0) return undefined
  const [, mac] = /^,"Mac":"([\w-]{43})"\}$/.exec(latin1(line.subarray(end))) ?? []
  const text = line.subarray(0, end)
  const [, digits] = /,"Seq":(\d{1,16})$/.exec(latin1(text.subarray(-SEQ_BYTES_MAX))) ?? []
  const seq = Number(digits)
  if (mac === undefined || digits === undefined || !Number.isSafeInteger(seq)) return undefined
  return { seq, mac, text }
}

/** @param text - of a line, up to its code. @returns undefined for a line that begins no chain */
export function readBegin(text: Uint8Array): BeginRead | undefined {
  const said = readObject(`${latin1(text)}}`)
  if (said?.['EventType'] !== 'seal_begin') return undefined
  const { Version, Chain, KeyID, Previous } = said
  if (typeof Chain !== 'string' || typeof KeyID !== 'string') return undefined
  return { version: Version, chain: Chain, keyId: KeyID, previous: readPrevious(Previous) }
}

export interface BeginRead {
  version: unknown
  chain: string
  keyId: string
  previous: PreviousRead | undefined
}

/** With a chain where a head is named, and more may have come. */
export interface PreviousRead extends Sealed {
  chain: string | undefined
}

function readPrevious(value: unknown): PreviousRead | undefined {
  if (!isObject(value) || typeof value['Mac'] !== 'string') return undefined
  const { Chain, Seq, Mac } = value
  return { chain: typeof Chain === 'string' ? Chain : undefined, seq: Number(Seq), mac: Mac }
}

export function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}
