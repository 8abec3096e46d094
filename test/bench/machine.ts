/**
 * The machine under the comparison: what it is, how idle, and what others than the bench took of its CPU.
 * https://docs.kernel.org/filesystems/proc.html (/proc/stat; limits)
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { readUsed, TICKS_A_SECOND } from './cpu.ts'

/** A sentence. */
export function machine(): string {
  const processors = cpus()
  const gib = Math.round(totalmem() / 1024 ** 3)
  return `${processors.length} × ${processors[0]?.model.trim()}, ${gib} GiB, Linux ${release()}`
}

/** CPU seconds of all processors, since the machine started. */
export interface MachineReading {
  idleSeconds: number
  /** Of programs, and what a hypervisor took; interrupts are nobody's. */
  busySeconds: number
}

export async function readMachine(): Promise<MachineReading> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, , , steal = 0] = line
    .split(/ +/)
    .slice(1)
    .map((ticks) => Number(ticks) / TICKS_A_SECOND)
  return { idleSeconds: idle + iowait, busySeconds: user + nice + system + steal }
}

/** More of the machine than this is somebody else's work. */
export const OTHERS_MOST = 0.05
const SAMPLE_MS = 3_000

/** Begins to watch. @returns what tells the share of the machine, 0 to 1, that others took since. */
export async function watchOthers(): Promise<() => Promise<number>> {
  const read = async () => ({ ...(await readMachine()), own: await readUsed(process.pid) })
  const before = await read()
  const start = performance.now()
  return async () => {
    const after = await read()
    const others = after.busySeconds - before.busySeconds - (after.own - before.own)
    const seconds = (performance.now() - start) / 1000
    return Math.max(0, others / seconds / cpus().length)
  }
}

/** While we do nothing. */
export async function othersNow(): Promise<number> {
  const others = await watchOthers()
  await delay(SAMPLE_MS)
  return await others()
}

/** Descriptors that a proxy needs beside those of its sessions. */
const SPARE = 200

/**
 * Sessions that one process can stand between: each takes two of its descriptors. Node raises its own limit
 * to the hard one when it starts, and hands it on to who is started by it.
 */
export function mostSessions(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const [, limit] = /^Max open files +(\d+)/m.exec(limits) ?? []
  return Math.floor((Number(limit ?? Number.POSITIVE_INFINITY) - SPARE) / 2)
}
