/** The corpus: wire scripts that, together, have every message of the protocol in them, and each of its states. */
import { COPY } from './corpus_copy.ts'
import { EXTENDED } from './corpus_extended.ts'
import { OTHERS } from './corpus_others.ts'
import { SIMPLE } from './corpus_simple.ts'
import type { Place } from './place.ts'
import type { Server } from './servers.ts'
import { difference, play, type Transcript, type WireCase } from './wire_case.ts'

/** What a server or a gate says for each, by the case's name. */
export type Played = Map<string, Transcript>

export const CORPUS: WireCase[] = [...SIMPLE, ...EXTENDED, ...COPY, ...OTHERS]

/** In a database of its own. @param cut - sends so many bytes at a time at most */
export async function playAll(server: Server, place: Place, cut?: number): Promise<Played> {
  await server.reset()
  const played: Played = new Map()
  for (const wireCase of CORPUS)
    try {
      played.set(wireCase.name, await play(place, wireCase, cut))
    } catch (cause) {
      throw new Error(`${place.name}: ${wireCase.name}: ${String(cause)}`, { cause })
    }
  return played
}

/** @returns a line for each case that differs by what may not. */
export function differences(server: Server, direct: Played, through: Played): string[] {
  const none: Transcript = new Map()
  return CORPUS.flatMap((wireCase) => {
    const [one = none, other = none] = [direct.get(wireCase.name), through.get(wireCase.name)]
    return difference(wireCase, one, other, server.version) ?? []
  })
}
