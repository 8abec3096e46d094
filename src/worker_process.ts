/**
 * A worker in a process of its own: it does what the primary tells it, from the first message to the last.
 * It reads no file: the configuration comes from the primary as it was read there.
 */
import { type Config, parseConfig } from './config/config.ts'
import { outsideOf, type Source } from './config/source.ts'
import { asFailure, Failure } from './failure.ts'
import type { ToPrimary, ToWorker } from './peers/messages.ts'
import { type Channel, inheritedSocket } from './peers/processes.ts'
import { openRemotePrimary, type RemotePrimary } from './peers/remote_primary.ts'
import { openRemoteState, type RemoteState } from './state/remote_state.ts'
import { openLog } from './telemetry/log.ts'
import { openWorker, type Worker } from './worker.ts'

type Begin = Extract<ToWorker, { kind: 'begin' }>

/** @returns when it is to end. */
export async function work(link: Channel<ToPrimary, ToWorker>, now: () => number): Promise<void> {
  const primary = openRemotePrimary(link)
  const begun = Promise.withResolvers<Begin>()
  const ended = Promise.withResolvers<void>()
  const others = { connections: 0 }
  let state: RemoteState | undefined
  const running = begun.promise.then(async (begin) => {
    // Who comes first is not to be refused for what was never asked.
    await state?.look()
    return await open(begin, primary, { others, state, now })
  })
  running.catch(() => undefined)
  link.onMessage((message) => {
    if (message.kind === 'begin') {
      state = message.state && openShared(message.state.maxAgeMs, primary)
      begun.resolve(message)
    } else if (message.kind === 'state_changed') void state?.look()
    else if (message.kind === 'answer') primary.answered(message.id, message.answer)
    else if (message.kind === 'ping') link.send({ kind: 'pong' })
    else if (message.kind === 'elsewhere') others.connections = message.connections
    else running.then((open) => obey(message, open, link, ended.resolve), ended.reject)
  })
  try {
    const { worker } = await running
    link.send({ kind: 'open', addresses: worker.addresses })
    await ended.promise
  } catch (thrown) {
    const { message, log } = asFailure(thrown)
    link.send({ kind: 'failed', problem: log === undefined ? message : `${message}: ${log}` })
  }
  primary.flush()
  link.close()
}

function openShared(maxAgeMs: number, { state: ask }: RemotePrimary): RemoteState {
  return openRemoteState({ maxAgeMs, ask, elapsed: () => performance.now() })
}

interface Running {
  worker: Worker
  renew(source: Source): void
}

/** What the worker has heard of its surroundings. */
interface Known {
  others: { connections: number }
  state: RemoteState | undefined
  now(): number
}

async function open(
  { number, workers, source, listening }: Begin,
  primary: RemotePrimary,
  { others, state, now }: Known,
): Promise<Running> {
  let newest = source
  const read = (from: Source, previous?: Config) => {
    let using: Source | undefined = from
    const outside = {
      ...outsideOf(from, now),
      elsewhere: primary.issuer,
      // Certificates that are read again later on are those of that moment.
      readFile: (path: string) => outsideOf(using ?? newest, now).readFile(path),
    }
    const config = parseConfig(from.name, from.text, outside, previous)
    using = undefined
    return config
  }
  let config = read(source)
  // Other ones in the file wait until the gate is started again.
  const { listeners } = listening === undefined ? config : read(listening)
  const log = openLog({ write: primary.log }, config.log.level, now)
  const worker = await openWorker(
    { ...config, listeners },
    {
      number,
      workers,
      descriptors: listeners.map((_, at) => inheritedSocket(at)),
      primary,
      log,
      now,
      // A certificate that changes comes with a configuration that was read again.
      watch: () => () => undefined,
      elsewhere: () => others.connections,
      state,
    },
  )
  if (listening !== undefined) worker.renew(config)
  return {
    worker,
    renew(from) {
      newest = from
      try {
        config = read(from, config)
        worker.renew(config)
        log.level = config.log.level
      } catch (thrown) {
        log.error(`the configuration in use is kept: ${asFailure(thrown).message}`)
      }
    },
  }
}

function obey(
  message: Exclude<ToWorker, Begin>,
  { worker, renew }: Running,
  link: Channel<ToPrimary, ToWorker>,
  end: () => void,
): void {
  const why = new Failure('shutting_down')
  if (message.kind === 'renew') renew(message.source)
  if (message.kind === 'drained_nodes') worker.drainNodes(message.nodes)
  if (message.kind === 'end_session') worker.endSession(message.id, message.why)
  if (message.kind === 'cancel') {
    const { id, key, from } = message
    void worker
      .cancel(Buffer.from(key), from)
      .then((found) => link.send({ kind: 'cancelled', id, found }))
  }
  if (message.kind === 'drain') void worker.drain(why).then(() => link.send({ kind: 'drained' }))
  if (message.kind === 'retire')
    void worker
      .retire()
      .then(() => worker.close(why))
      .then(end)
  if (message.kind === 'close') void worker.close(why).then(end)
}
