/**
 * `postern cluster`: what a gate needs on its cluster (`setup`), and whether it is there (`doctor`).
 * One line a check, and below one that failed what to do; plain where nobody looks at colours.
 */
import { type Check, diagnose } from '../cluster/doctor.ts'
import { openNames } from '../cluster/node_names.ts'
import { membersOf, nodeOf } from '../cluster/nodes.ts'
import { type Block, setup } from '../cluster/setup.ts'
import { diagnoseConsole } from '../console/diagnosis.ts'
import { Failure } from '../failure.ts'
import { diagnoseState } from '../state/diagnosis.ts'
import { oneCluster, readConfig } from './serve.ts'
import { bold, printable, type World } from './terminal.ts'

export interface SetupOptions {
  config: string
  cluster?: string
  gateAddress?: string
  osUser?: string
}

export interface DoctorOptions {
  config: string
  cluster?: string
  role?: string
  database?: string
  osUser?: string
}

export function clusterSetup(options: SetupOptions, world: World): void {
  const cluster = oneCluster(readConfig(options.config, world), options.cluster)
  const { gateAddress, osUser = world.userName } = options
  const blocks: Block[] = [
    ...setup({ ...cluster, node: nodeOf(cluster.nodes.entries[0]) }, { gateAddress, osUser }),
    { place: 'shell, here', lines: [`postern cluster doctor --config ${options.config}`] },
  ]
  for (const { place, lines } of blocks)
    world.stdout.write(`${bold(world, `=== ${place} ===`)}\n${lines.join('\n')}\n\n`)
}

/** @throws Failure `doctor_found` */
export async function clusterDoctor(options: DoctorOptions, world: World): Promise<void> {
  const config = readConfig(options.config, world)
  const cluster = oneCluster(config, options.cluster)
  const { role, database, osUser = world.userName } = options
  const { now, stop } = world
  let found = 0
  try {
    const nodes = await membersOf(cluster.nodes.entries, openNames()).catch(unknown)
    for (const { node } of nodes) {
      if (nodes.length > 1) world.stdout.write(`${bold(world, node.name)}\n`)
      const patient = { ...cluster, node }
      const note = (check: Check) => {
        if (check.mark === 'bad') found++
        world.stdout.write(told(check))
      }
      for await (const check of diagnose(patient, { role, database, osUser, now, stop }))
        note(check)
      if (cluster.state !== undefined)
        (await diagnoseState(node, cluster.state, stop)).forEach(note)
      if (config.console !== undefined)
        note(await diagnoseConsole(node, config.console.database, cluster.management?.role, stop))
    }
  } catch (thrown) {
    if (stop.aborted) throw doctorFound('the doctor was stopped before it was done')
    throw thrown
  }
  if (found === 0) return
  throw doctorFound(
    found === 1
      ? 'the doctor found a problem'
      : `the doctor found ${found} problems: mend the first one first`,
  )
}

function unknown(thrown: unknown): never {
  throw doctorFound(`the nodes' name can't be looked up: ${(thrown as Error).message}`)
}

function doctorFound(problem: string): Failure {
  return new Failure('doctor_found', { values: { problem } })
}

const MARKS = { ok: '✓', bad: '✗', warning: '!', unchecked: '–' }
const NAME_WIDTH = 13

function told({ mark, name, says, todo }: Check): string {
  const hint = todo === undefined ? '' : `  hint: ${printable(todo)}\n`
  return `${MARKS[mark]} ${name.padEnd(NAME_WIDTH)} ${printable(says)}\n${hint}`
}
