/**
 * Where a development gate keeps its files, so that `postern token` finds its issuer: a directory
 * named after the user and the port, or the one given with --data. Everything secret in it is 0600.
 * Rule: in a shared temporary directory a name proves nothing; the owner does.
 */
import { lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Failure } from '../failure.ts'
import { DEV_ISSUER, type DevIssuer, makeDevIssuer } from './issuer.ts'

export interface Home {
  dir: string
  /** Removed when the gate ends. */
  temporary: boolean
}

export interface Place {
  data: string | undefined
  port: number
  uid: number
  temporaryDirectory: string
  workingDirectory: string
  /** Whether a process of that id runs. */
  isAlive(pid: number): boolean
}

const ISSUER_FILE = 'issuer.json'
const PID_FILE = 'postern.pid'

/** Makes the directory; one that a killed gate left behind is made anew. */
export async function makeHome(place: Place, pid: number): Promise<Home> {
  const dir = homeOf(place)
  const temporary = place.data === undefined
  const alive = await livePid(dir, place)
  if (alive !== undefined) throw failed(`a development gate (process ${alive}) already uses ${dir}`)
  if (temporary) await clear(dir, place.uid)
  await mkdir(dir, { recursive: !temporary, mode: 0o711 }).catch((error: Error) => {
    throw failed(`cannot make ${dir}: ${error.message}`)
  })
  await writeFile(join(dir, PID_FILE), String(pid), { mode: 0o600 })
  return { dir, temporary }
}

export async function leaveHome({ dir, temporary }: Home): Promise<void> {
  await rm(temporary ? dir : join(dir, PID_FILE), { recursive: true, force: true, maxRetries: 10 })
}

/** The issuer of an earlier start, or a new one. */
export async function keepIssuer({ dir }: Home): Promise<DevIssuer> {
  const path = join(dir, ISSUER_FILE)
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text !== undefined) return JSON.parse(text) as DevIssuer
  const issuer = await makeDevIssuer()
  await writeFile(path, JSON.stringify(issuer), { mode: 0o600 })
  return issuer
}

/** The issuer of the running development gate. */
export async function findIssuer(place: Place): Promise<DevIssuer> {
  const dir = homeOf(place)
  await ownedBy(dir, place.uid)
  const text = await readFile(join(dir, ISSUER_FILE), 'utf8').catch(() => {
    throw failed(
      `no development gate of yours runs on port ${place.port}: start one with postern dev`,
    )
  })
  const issuer = JSON.parse(text) as DevIssuer
  if (issuer.issuer !== DEV_ISSUER)
    throw failed(`${issuer.issuer} is not the development issuer; postern token signs for no other`)
  return issuer
}

function homeOf({ data, port, uid, temporaryDirectory, workingDirectory }: Place): string {
  if (data !== undefined) return resolve(workingDirectory, data)
  return join(temporaryDirectory, `postern-dev-${uid}-${port}`)
}

async function clear(dir: string, uid: number): Promise<void> {
  if (await ownedBy(dir, uid)) await rm(dir, { recursive: true, force: true })
}

/** @returns false where there is nothing. */
async function ownedBy(dir: string, uid: number): Promise<boolean> {
  const stats = await lstat(dir).catch(() => undefined)
  if (stats === undefined) return false
  if (stats.isDirectory() && stats.uid === uid) return true
  throw failed(`${dir} is somebody else's; remove it, or choose another --port`)
}

async function livePid(dir: string, { isAlive }: Place): Promise<number | undefined> {
  const pid = Number(await readFile(join(dir, PID_FILE), 'utf8').catch(() => ''))
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  return isAlive(pid) ? pid : undefined
}

function failed(problem: string): Failure {
  return new Failure('dev_failed', { values: { problem } })
}
