/** `postern serve`: opens the gate that a configuration file describes, until a signal ends it. */
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Config, parseConfig } from '../config/config.ts'
import { Failure } from '../failure.ts'
import { openGate } from '../gate.ts'
import { openStream } from '../telemetry/log.ts'
import { stopped, type World } from './terminal.ts'

export async function serve({ config: file }: { config: string }, world: World): Promise<void> {
  const config = readConfig(file, world)
  const gate = await openGate(config, {
    version: world.version,
    now: world.now,
    logTo: openStream('stderr'),
    auditTo: openStream(config.auditTo),
  })
  await stopped(world)
  await gate.close(new Failure('shutting_down'))
}

/** @throws Failure `config_unreadable` or `config_invalid` */
export function readConfig(file: string, world: World): Config {
  const readFile = (path: string) => readFileSync(path, 'utf8')
  let text: string
  try {
    text = readFile(resolve(world.workingDirectory, file))
  } catch (thrown) {
    throw new Failure('config_unreadable', { values: { file, problem: (thrown as Error).message } })
  }
  return parseConfig(file, text, {
    env: world.env,
    readFile,
    fileMode: (path) => statSync(path).mode & 0o777,
    now: world.now,
  })
}
