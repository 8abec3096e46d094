/** `postern serve`: opens the gate that a configuration file describes, until a signal ends it. */
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type ClusterConfig, type Config, parseConfig } from '../config/config.ts'
import type { Outside } from '../config/document.ts'
import { Failure } from '../failure.ts'
import { openGate, processesOf } from '../gate.ts'
import { openAuditSink } from '../telemetry/audit_sink.ts'
import { openLogStream } from '../telemetry/log.ts'
import { work } from '../worker_process.ts'
import { stopped, type World } from './terminal.ts'
import { watchFiles } from './watch.ts'

export async function serve({ config: file }: { config: string }, world: World): Promise<void> {
  if (world.primary !== undefined) return await work(world.primary, world.now)
  // From the beginning to the end: while a gate opens or closes, it ends nothing.
  let reload: () => void = () => undefined
  world.onSignal('SIGHUP', () => reload())
  const reader = openReader(file, world)
  const config = reader.read()
  const gate = await openGate(config, {
    version: world.version,
    runtime: world.runtime,
    now: world.now,
    watch: watchFiles,
    read: (previous) => reader.read(previous),
    logTo: openLogStream('stderr'),
    hostName: world.hostName,
    auditTo: openAuditSink(config.audit.to, { hostName: world.hostName ?? '', now: world.now }),
    processes: { start: world.startWorker, processors: world.processors },
  })
  const keptUp = reader.keepUp(() => gate.reload(reader.read))
  reload = keptUp.again
  world.onSignal('SIGUSR2', () => void gate.replaceWorkers())
  const broken = await Promise.race([stopped(world), gate.broken])
  keptUp.unwatch()
  const why = new Failure('shutting_down')
  const hurried = new Promise<void>((resolve) => world.onHurry(resolve))
  if (broken === undefined) await Promise.race([gate.drain(why), hurried])
  await gate.close(why, hurried)
  if (broken !== undefined) throw broken
}

/** The configuration file, and what it is made of: read again at a SIGHUP, and when one of the files changes. */
function openReader(file: string, world: World) {
  let files: string[] = []
  /** What it opens with: its listeners stay, whatever the file says later on. */
  let opened: Config | undefined
  return {
    /** @throws Failure `config_unreadable` or `config_invalid` */
    read(previous?: Config): Config {
      const read = new Set([resolve(world.workingDirectory, file)])
      const outside = outsideOf(world)
      const readFile = (path: string) => {
        read.add(path)
        return outside.readFile(path)
      }
      try {
        const text = readText(file, world)
        const config = parseConfig(file, text, { ...outside, readFile }, previous)
        opened ??= config
        if (processesOf(opened, world.processors) > 1)
          return withFiles(config, certificatesOf(opened), readFile)
        // Where the gate is one process, the listeners' certificates are watched by themselves: they
        // are new ones even while the file has mistakes.
        for (const path of certificatesOf(config)) read.delete(path)
        return config
      } finally {
        files = [...read]
      }
    },
    /** When a file changes, until it is told to stop; and when it is told to. */
    keepUp(reload: () => void): { again(): void; unwatch(): void } {
      let watched = files
      const again = () => {
        reload()
        if (isDeepStrictEqual(files, watched)) return
        unwatch()
        watched = files
        unwatch = watchFiles(watched, again)
      }
      let unwatch = watchFiles(watched, again)
      return { again, unwatch: () => unwatch() }
    },
  }
}

function certificatesOf({ listeners }: Config): string[] {
  return listeners.flatMap(({ tls }) => [...(tls?.files ?? [])])
}

/** Also for the workers to read, though the file names them no more. */
function withFiles(config: Config, paths: string[], readFile: Outside['readFile']): Config {
  const files = new Map(config.source.files)
  for (const path of paths)
    if (!files.has(path))
      try {
        files.set(path, { text: readFile(path) })
      } catch (thrown) {
        files.set(path, { problem: (thrown as Error).message })
      }
  return { ...config, source: { ...config.source, files } }
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
