/**
 * The listeners' sockets as the primary of several processes has them: bound, for as long as the gate lives.
 * Workers inherit them and listen; while there is none, who connects waits for the next one.
 * Rule: a socket's file has its name only from when somebody listens, so no other gate takes it for stale.
 * https://nodejs.org/docs/latest-v24.x/api/net.html#class-netboundsocket
 */
import { randomBytes } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { existsSync, fstatSync, statSync, unlinkSync } from 'node:fs'
import { chmod, link, unlink } from 'node:fs/promises'
import net from 'node:net'
import { dirname, join } from 'node:path'
import { type Bind, cannotListen, removeStale } from './listener.ts'

declare module 'node:net' {
  // Node 24.21 has it, its types don't yet.
  interface BoundSocketOptions {
    path?: string | undefined
  }
}

export interface BoundSockets {
  /** In the order of what was to be bound. */
  descriptors: readonly number[]
  /**
   * Somebody listens: the files get their names.
   * @throws Failure `cannot_listen`
   */
  publish(): Promise<void>
  /** And removes the files that are ours. */
  close(): void
}

interface Named {
  bind: { path: string; mode: number }
  /** The name that the file has until then, in the same directory. */
  first: string
  inode: number
}

/** @throws Failure `cannot_listen` */
export async function bindSockets(binds: readonly Bind[]): Promise<BoundSockets> {
  const bound: net.BoundSocket[] = []
  const files: Named[] = []
  const descriptors: number[] = []
  const close = () => {
    for (const file of files.splice(0)) remove(file)
    for (const socket of bound.splice(0)) socket.close()
  }
  for (const bind of binds)
    try {
      descriptors.push(await descriptorOf(bind, bound, files))
    } catch (thrown) {
      close()
      throw cannotListen(bind, thrown)
    }
  return {
    descriptors,
    close,
    async publish() {
      for (const { bind, first } of files)
        try {
          await makeFree(bind.path)
          await link(first, bind.path)
          await unlink(first)
        } catch (thrown) {
          throw cannotListen(bind, thrown)
        }
    },
  }
}

async function descriptorOf(bind: Bind, bound: net.BoundSocket[], files: Named[]): Promise<number> {
  if ('fd' in bind) {
    if (!fstatSync(bind.fd).isSocket()) throw new Error('it is no socket')
    return bind.fd
  }
  if (!('path' in bind)) {
    const socket = new net.BoundSocket(await resolved(bind))
    bound.push(socket)
    return socket.fd()
  }
  if (!('isPipe' in net.BoundSocket.prototype)) throw new Error('it needs Node.js 24.21 or later')
  await makeFree(bind.path)
  const first = join(dirname(bind.path), `.${randomBytes(4).toString('hex')}`)
  const socket = new net.BoundSocket({ path: first })
  bound.push(socket)
  files.push({ bind, first, inode: statSync(first).ino })
  await chmod(first, bind.mode)
  return socket.fd()
}

async function makeFree(path: string): Promise<void> {
  await removeStale(path)
  if (existsSync(path)) throw new Error('somebody listens there')
}

/** Another gate's file of that name is not ours. */
function remove({ bind: { path }, inode }: Named): void {
  if (statSync(path, { throwIfNoEntry: false })?.ino === inode) unlinkSync(path)
}

async function resolved({ host, port }: { host: string; port: number }) {
  return { host: (await lookup(host)).address, port }
}
