/** One part of the comparison: something that is run at the server itself, and again through gates. */
import type { Gate, GateSpec } from './gates.ts'
import type { Place } from './place.ts'
import type { Server } from './servers.ts'

export interface Section {
  name: string
  /** Programs that it needs, as their Debian packages are named; looked for before anything is started. */
  needs?: Need[]
  run(stage: Stage): Promise<Compared[]>
}

export interface Need {
  program: string
  args: string[]
  debian: string
}

/** A row of the table: one thing, on one server, through several gates. */
export interface Compared {
  what: string
  /** What was compared, counted. */
  count: string
  /** What may not be. */
  differences: string[]
}

export interface Stage {
  server: Server
  /** Started when it is asked for; one at a time is there, so the last one is gone then. */
  gate(spec: GateSpec): Promise<Gate>
  /** Where files go that are gone when all has ended. */
  dir: string
  say(line: string): void
}

/** What a client printed at each place, in a database of its own each time, must be the same text. */
export async function compareText(
  stage: Stage,
  what: string,
  direct: Place,
  gates: { spec: GateSpec; place: (gate: Gate) => Place }[],
  run: (place: Place) => Promise<string>,
): Promise<Compared> {
  const { server, gate, say } = stage
  const at = async (place: Place) => {
    await server.reset()
    say(`${what}: ${place.name}, PostgreSQL ${server.version}`)
    return await run(place)
  }
  const expected = await at(direct)
  const differences: string[] = []
  for (const { spec, place } of gates) {
    const through = place(await gate(spec))
    const said = await at(through).catch(String)
    const difference = firstDifference(expected, said)
    if (difference !== undefined) differences.push(`${what}, ${through.name}: ${difference}`)
  }
  const lines = expected.split('\n').length
  return { what, count: `${lines.toLocaleString('en')} lines`, differences }
}

/** @returns the first line that isn't the same, both ways. */
export function firstDifference(direct: string, through: string): string | undefined {
  if (direct === through) return undefined
  const [here, there] = [direct.split('\n'), through.split('\n')]
  const at = here.findIndex((line, index) => line !== there[index])
  const place = at < 0 ? here.length : at
  return `line ${place + 1} is ${JSON.stringify(here[place])} directly and ${JSON.stringify(there[place])} through the gate`
}
