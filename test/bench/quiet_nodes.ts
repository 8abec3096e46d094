/** A stage whose node is the quiet one (quiet_node.ts), and peers that stand on it. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { openPeers, type Peers } from './peers.ts'
import { ENVIRONMENT } from './program.ts'
import type { Stage } from './stage.ts'

/** Of Postern's cluster: the quiet node asks for nothing. */
export const TRUSTING = { sign_in: 'trust', scram: undefined }

export interface Quiet {
  stage: Stage
  peers: Peers
  close(): Promise<void>
}

export async function openQuiet(stage: Stage): Promise<Quiet> {
  const program = join(import.meta.dirname, 'quiet_node.ts')
  const child = fork(program, { env: ENVIRONMENT, execArgv: [] })
  const ended = once(child, 'close')
  const [port] = await Promise.race([once(child, 'message'), ended])
  if (child.exitCode !== null) throw new Error('the quiet node did not start')
  const quiet: Stage = { ...stage, node: { ...stage.node, port: Number(port) } }
  const peers = openPeers(quiet)
  return {
    stage: quiet,
    peers,
    async close() {
      await peers.close()
      child.kill('SIGKILL')
      await ended
    },
  }
}
