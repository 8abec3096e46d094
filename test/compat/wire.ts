/** The corpus, at a server and through every gate, without TLS and with it. */
import { differences, type Played, playAll } from './corpus.ts'
import { GATES, type GateSpec } from './gates.ts'
import type { Place } from './place.ts'
import type { Compared, Section, Stage } from './section.ts'
import { sizeOf } from './wire_case.ts'

/** How many bytes are written at a time, where a gate is to see messages that are cut anywhere. */
const CUT = 7

export const wire: Section = {
  name: 'wire',
  async run(stage) {
    const { server } = stage
    const { version } = server
    const direct = await playAll(server, server.direct)
    const size = [...direct.values()].reduce((sum, transcript) => sum + sizeOf(transcript), 0)
    const mebibytes = (size / 2 ** 20).toFixed(1)
    const count = `${direct.size} scripts, ${mebibytes} MiB of answers`
    const compare = async (place: Place, cut?: number): Promise<Compared> => {
      const what = `raw wire scripts: ${place.name}${cut === undefined ? '' : `, sent ${cut} bytes at a time`}`
      stage.say(`${what}, PostgreSQL ${version}`)
      const through = await played(stage, place, cut)
      if (typeof through === 'string') return { what, count, differences: [through] }
      return { what, count, differences: differences(server, direct, through) }
    }
    // That two runs of the same are the same.
    const rows = [await compare(server.directTls)]
    for (const spec of specsFor(version)) {
      const gate = () => stage.gate(spec)
      rows.push(await compare((await gate()).plain), await compare((await gate()).tls))
      if (spec === GATES.usual) rows.push(await compare((await gate()).tls, CUT))
    }
    return rows
  },
}

function specsFor(version: number): GateSpec[] {
  const { usual, tlsNode, directTlsNode, pool, workers } = GATES
  return [usual, tlsNode, ...(version >= 17 ? [directTlsNode] : []), pool, workers]
}

async function played({ server }: Stage, place: Place, cut?: number): Promise<Played | string> {
  try {
    return await playAll(server, place, cut)
  } catch (thrown) {
    return String(thrown)
  }
}
