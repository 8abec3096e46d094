/**
 * `postern ca`: the authority that signs for sign-in by certificate. A rotation has three steps, so
 * that at every moment the nodes trust whatever the gate signs with: begin, switch, finish.
 * Rule: a key is written once, last of its step, and readable by its owner alone; a step that was cut
 * short can be run again.
 */
import { X509Certificate } from 'node:crypto'
import {
  access,
  copyFile,
  link,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { makeAuthority, openAuthority } from '../cluster/authority.ts'
import { certificateProblem } from '../config/pem.ts'
import { Failure } from '../failure.ts'
import type { World } from './terminal.ts'

export interface CaOptions {
  dir: string
  name: string
  days: number
}

const DAY_MS = 86_400_000
const CURRENT = { cert: 'ca.crt', key: 'ca.key' }
const NEXT = { cert: 'ca.next.crt', key: 'ca.next.key' }
const PREVIOUS = { cert: 'ca.previous.crt' }
/** What the nodes' ssl_ca_file holds. */
const TRUSTED = 'trusted.crt'

type Pair = typeof CURRENT

export async function caInit({ dir, name, days }: CaOptions, world: World): Promise<void> {
  const at = files(dir, world)
  if (await exists(at(CURRENT.key)))
    throw failed(`${at(CURRENT.key)} is there already; postern ca rotate replaces it`)
  if (await exists(at(CURRENT.cert)))
    throw failed(`${at(CURRENT.cert)} is there already, without its key; move it away`)
  await writing(at('.'), async () => {
    await mkdir(at('.'), { recursive: true, mode: 0o700 })
    await make(CURRENT, at, name, days, world)
  })
  world.stdout.write(`A certificate authority, good for ${days} days:

  ${at(CURRENT.cert)}   for the gate: certificate.ca_cert
  ${at(CURRENT.key)}   for the gate: certificate.ca_key (its owner's alone)
  ${at(TRUSTED)}   for the nodes: ssl_ca_file

Next: postern cluster setup prints what the nodes need.
`)
}

export async function caRotate({ dir, name, days }: CaOptions, world: World): Promise<void> {
  const at = files(dir, world)
  if (!(await exists(at(CURRENT.key))))
    throw failed(`there is no authority in ${at('.')}; postern ca init makes one`)
  if (await exists(at(NEXT.key))) {
    await writing(at('.'), () => switchOver(at, world))
    return say(world, `Switched: ${at(CURRENT.cert)} is the new authority; the old key is gone.`, [
      'restart every gate',
      'ten minutes later, when nothing that the old one signed is good any more: postern ca rotate again',
    ])
  }
  if (await exists(at(PREVIOUS.cert))) {
    await writing(at('.'), async () => {
      await rm(at(PREVIOUS.cert))
      await trust(at)
    })
    return say(world, `Finished: ${at(TRUSTED)} holds the new authority alone.`, [
      `copy ${at(TRUSTED)} to every node's ssl_ca_file and reload the nodes`,
    ])
  }
  await writing(at('.'), async () => {
    // Without its key it is the rest of a step that was cut short.
    await rm(at(NEXT.cert), { force: true })
    await make(NEXT, at, name, days, world)
  })
  return say(world, `Begun: ${at(TRUSTED)} holds the old authority and the new one.`, [
    `copy ${at(TRUSTED)} to every node's ssl_ca_file and reload the nodes`,
    'when all of them have it: postern ca rotate again',
  ])
}

export async function caShow({ dir }: CaOptions, world: World): Promise<void> {
  const at = files(dir, world)
  const [cert, key] = await Promise.all([read(at(CURRENT.cert)), read(at(CURRENT.key))])
  const opened = openAuthority(cert, key, world.now())
  const { mode } = await stat(at(CURRENT.key))
  const lines = [describe('signs', cert, world)]
  for (const [what, { cert }] of [
    ['next', NEXT],
    ['previous', PREVIOUS],
  ] as const)
    if (await exists(at(cert))) lines.push(describe(what, await read(at(cert)), world))
  if (!opened.ok) lines.push(`problem   ${opened.problem}`)
  if ((mode & 0o077) !== 0)
    lines.push(`problem   ${at(CURRENT.key)} can be read by others; chmod 0600 it`)
  world.stdout.write(`${lines.join('\n')}\n`)
}

type At = (name: string) => string

function files(dir: string, world: World): At {
  return (name) => join(resolve(world.workingDirectory, dir), name)
}

/** The certificate, whom the nodes trust, and last the key: with it the step is done. */
async function make(pair: Pair, at: At, name: string, days: number, world: World): Promise<void> {
  const { certPem, keyPem } = await makeAuthority(name, days * DAY_MS, world.now())
  await writeFile(at(pair.cert), certPem, { flag: 'wx' })
  await trust(at)
  await writeKey(at(pair.key), keyPem)
}

/** Whole or not there, and never over another one: `link` refuses a name that is taken. */
async function writeKey(path: string, keyPem: string): Promise<void> {
  const fresh = `${path}.new`
  await rm(fresh, { force: true })
  const file = await open(fresh, 'wx', 0o600)
  try {
    await file.writeFile(keyPem)
    await file.sync()
  } finally {
    await file.close()
  }
  await link(fresh, path)
  await rm(fresh)
}

/** @throws Failure `ca_failed` where the next key isn't that of its certificate: the old one stays. */
async function switchOver(at: At, world: World): Promise<void> {
  const moved = !(await exists(at(NEXT.cert)))
  const cert = await readFile(at(moved ? CURRENT.cert : NEXT.cert), 'utf8')
  const opened = openAuthority(cert, await readFile(at(NEXT.key), 'utf8'), world.now())
  if (!opened.ok)
    throw failed(`${at(NEXT.key)} can't sign: ${opened.problem}; remove it, and rotate again`)
  if (await exists(at(NEXT.cert))) {
    await copyFile(at(CURRENT.cert), at(PREVIOUS.cert))
    await rename(at(NEXT.cert), at(CURRENT.cert))
  }
  await rename(at(NEXT.key), at(CURRENT.key))
}

/** Every authority that a gate may sign with, now or next. */
async function trust(at: At): Promise<void> {
  const held: string[] = []
  for (const { cert } of [CURRENT, NEXT, PREVIOUS])
    if (await exists(at(cert))) held.push(await readFile(at(cert), 'utf8'))
  await writeFile(at(`${TRUSTED}.new`), held.join(''))
  await rename(at(`${TRUSTED}.new`), at(TRUSTED))
}

function describe(what: string, pem: string, world: World): string {
  if (certificateProblem(pem) !== undefined) return `${what.padEnd(9)} no certificate in PEM`
  const { subject, fingerprint256, validTo } = new X509Certificate(pem)
  const days = Math.floor((Date.parse(validTo) - world.now()) / DAY_MS)
  return `${what.padEnd(9)} ${subject.replaceAll('\n', ', ')}; until ${validTo} (${days} days); SHA-256 ${fingerprint256}`
}

function say(world: World, done: string, next: string[]): void {
  world.stdout.write(
    `${done}\n\nNext:\n${next.map((step, index) => `  ${index + 1}. ${step}\n`).join('')}`,
  )
}

async function read(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: Error) => {
    throw new Failure('config_unreadable', { values: { file: path, problem: error.message } })
  })
}

async function writing(dir: string, work: () => Promise<void>): Promise<void> {
  await work().catch((thrown: NodeJS.ErrnoException) => {
    const values = { file: thrown.path ?? dir, problem: thrown.message }
    throw new Failure('cannot_write', { values, cause: thrown })
  })
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

function failed(problem: string): Failure {
  return new Failure('ca_failed', { values: { problem } })
}
