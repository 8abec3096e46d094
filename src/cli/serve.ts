/** `postern serve`: opens the gate that a configuration file describes, until a signal ends it. */
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { type ClusterConfig, type Config, parseConfig } from '../config/config.ts'
import type { Outside } from '../config/document.ts'
import { Failure } from '../failure.ts'
import { openGate } from '../gate.ts'
import { openAuditStream, openLogStream } from '../telemetry/log.ts'
import { stopped, type World } from './terminal.ts'
import { watchFiles } from './watch.ts'

export async function serve({ config: file }: { config: string }, world: World): Promise<void> {
  const config = readConfig(file, world)
  const gate = await openGate(config, {
    version: world.version,
    now: world.now,
    watch: watchFiles,
    logTo: openLogStream('stderr'),
    auditTo: openAuditStream(config.auditTo),
  })
  await stopped(world)
  await gate.close(new Failure('shutting_down'))
}

/** @throws Failure `config_unreadable` or `config_invalid` */
export function readConfig(file: string, world: World): Config {
  return parseConfig(file, readText(file, world), outsideOf(world))
}

/**
 * The cluster that a command is about.
 * @throws Failure `usage` where there are several, and none of that name
 */
export function oneCluster({ clusters }: Config, name: string | undefined): ClusterConfig {
  const [first, ...others] = clusters
  const named = clusters.find((cluster) => cluster.name === name)
  if (named !== undefined) return named
  if (name === undefined && others.length === 0) return first
  const names = clusters.map((cluster) => cluster.name).join(', ')
  const problem = `say which cluster by --cluster: ${names}`
  throw new Failure('usage', { values: { problem } })
}

/** @throws Failure `config_unreadable` */
export function readText(file: string, world: World): string {
  try {
    return readFileSync(resolve(world.workingDirectory, file), 'utf8')
  } catch (thrown) {
    throw new Failure('config_unreadable', { values: { file, problem: (thrown as Error).message } })
  }
}

/** What a configuration may take from the machine. */
export function outsideOf(world: World): Outside {
  return {
    env: world.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    fileMode: (path) => statSync(path).mode & 0o777,
    now: world.now,
  }
}
