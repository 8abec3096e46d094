/**
 * An issuer's keys on their way to another process of the gate: plain data there, keys again here. The
 * same key is made once, however often it comes.
 */
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FoundKeys } from './key_source.ts'
import type { VerificationKey } from './keys.ts'

export interface PortableKeys extends Omit<FoundKeys, 'keys'> {
  keys: (Omit<VerificationKey, 'key'> & { jwk: JsonWebKey })[]
}

const KEYS_MAX = 1_000

export function packKeys({ keys, ...about }: FoundKeys): PortableKeys {
  const pack = ({ key, ...rest }: VerificationKey) => ({
    ...rest,
    jwk: key.export({ format: 'jwk' }),
  })
  return { ...about, keys: keys.map(pack) }
}

export function openUnpacking(): (packed: PortableKeys) => FoundKeys {
  const known = new LRUCache<string, VerificationKey['key']>({ max: KEYS_MAX })
  const make = (thumbprint: string, jwk: JsonWebKey) => {
    const key = known.get(thumbprint) ?? createPublicKey({ key: jwk, format: 'jwk' })
    known.set(thumbprint, key)
    return key
  }
  return ({ keys, ...about }) => ({
    ...about,
    keys: keys.map(({ jwk, ...rest }) => ({ ...rest, key: make(rest.thumbprint, jwk) })),
  })
}
