/**
 * CPU seconds that a process and all below it have used, from Linux' /proc.
 * https://docs.kernel.org/filesystems/proc.html, https://docs.kernel.org/scheduler/sched-stats.html
 * A task's schedstat counts nanoseconds, but is gone with its thread; the process's stat keeps those of
 * threads that ended, in ticks. So the first is believed unless the second says that time is missing.
 */
import { readdir, readFile } from 'node:fs/promises'

/** One reading. */
export interface CpuReading {
  /** Sum of the living threads' schedstat. */
  tasksNs: number
  /** Sum of the processes' user and system time. */
  processesNs: number
  pids: number[]
}

/** USER_HZ is 100 on every Linux that Node runs on. */
export const TICKS_A_SECOND = 100
const TICK_NS = 1e9 / TICKS_A_SECOND
/** User and system time are each cut to a whole tick. */
const TICKS_CUT = 2

export async function readCpu(pid: number): Promise<CpuReading> {
  const pids = await treeOf(pid)
  const [tasks, processes] = await Promise.all([
    Promise.all(pids.map(tasksNsOf)),
    Promise.all(pids.map(processNsOf)),
  ])
  return { tasksNs: sum(tasks), processesNs: sum(processes), pids }
}

/** Seconds from one reading of a tree to a later one. */
export function cpuBetween(before: CpuReading, after: CpuReading): number {
  const lost = before.pids.filter((pid) => !after.pids.includes(pid))
  if (lost.length > 0) throw new Error(`a process that was measured ended: ${lost.join(', ')}`)
  const tasks = after.tasksNs - before.tasksNs
  const processes = after.processesNs - before.processesNs - TICKS_CUT * TICK_NS * after.pids.length
  return Math.max(tasks, processes) / 1e9
}

const TRIES = 10

/** CPU seconds of a process and all that descend from it, those that have ended among them. */
export async function readUsed(pid: number): Promise<number> {
  for (let left = TRIES; ; left--) {
    try {
      const ticks = (await treeOf(pid)).map(async (each) => sum(await ticksOf(each)))
      return sum(await Promise.all(ticks)) / TICKS_A_SECOND
    } catch (thrown) {
      // Somebody ended meanwhile; the parent has that time by the next reading.
      if (left === 0) throw thrown
    }
  }
}

/** The process and all that descend from it. */
export async function treeOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`)
  const children = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')),
  )
  const pids = children.flatMap((each) => each.split(' ').filter(Boolean).map(Number))
  return [pid, ...(await Promise.all(pids.map(treeOf))).flat()]
}

async function tasksNsOf(pid: number): Promise<number> {
  const tasks = await readdir(`/proc/${pid}/task`)
  const each = tasks.map(async (task) => {
    const text = await readFile(`/proc/${pid}/task/${task}/schedstat`, 'utf8')
    return Number(text.split(' ')[0])
  })
  return sum(await Promise.all(each))
}

async function processNsOf(pid: number): Promise<number> {
  const [user = 0, system = 0] = await ticksOf(pid)
  return (user + system) * TICK_NS
}

/**
 * User and system time of a process, then of its children that it waited for. The program's name, in
 * parentheses, may hold anything; utime is the 12th field behind it.
 */
async function ticksOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).map(Number)
}

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}
