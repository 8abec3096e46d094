/**
 * A token, from standard input: piped, or pasted into a terminal, which doesn't show it.
 * Rule: what is read is a Secret from here on, bounded as a client's is.
 */
import { addAbortSignal } from 'node:stream'
import { Failure } from '../failure.ts'
import { Secret } from '../secret.ts'
import { PASSWORD_BYTES_MAX } from '../wire/client_messages.ts'
import type { Input, World } from './terminal.ts'

const PROMPT = 'Paste the token (it is not shown), then press Enter: '
const CTRL_C = 0x03
const CTRL_D = 0x04
const ENTER = [0x0d, 0x0a]

/** @throws Failure `usage` */
export async function readToken(world: World): Promise<Secret> {
  const input = world.stdin()
  const text = (input.isTTY ? await pasted(input, world) : await piped(input, world)).trim()
  if (text === '')
    throw unusable('no token came on standard input; try: postern explain < token.txt')
  if (/^(?:Authorization:\s*)?Bearer\s/i.test(text))
    throw unusable('give the token alone, without "Bearer" before it')
  if (/\s/.test(text))
    throw unusable('what came on standard input is several words or lines; a token is one word')
  if (/^(?:PGPASSWORD|TOKEN)=/.test(text))
    throw unusable('give the token alone, without the name and the "=" before it')
  return new Secret(text)
}

async function piped(input: Input, world: World): Promise<string> {
  return (await read(input, world, () => -1)).toString()
}

/** Not by lines: a terminal cuts one at 4,096 characters, and shows it. */
async function pasted(input: Input, world: World): Promise<string> {
  world.stderr.write(PROMPT)
  input.setRawMode?.(true)
  try {
    return (await read(input, world, endOfKeys)).toString()
  } finally {
    input.setRawMode?.(false)
    world.stderr.write('\n')
  }
}

function endOfKeys(chunk: Buffer): number {
  if (chunk.includes(CTRL_C)) throw stopped()
  const end = chunk.indexOf(CTRL_D)
  if (end >= 0) return end
  // What was pasted may have a line break inside: what comes behind it is not to be left to the shell.
  return ENTER.includes(chunk.at(-1) ?? 0) ? chunk.length - 1 : -1
}

/** @param end - where in a chunk the input is over, or -1. */
async function read(input: Input, world: World, end: (chunk: Buffer) => number): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of addAbortSignal(world.stop, input) as AsyncIterable<Buffer>) {
      const at = end(chunk)
      parts.push(at < 0 ? chunk : chunk.subarray(0, at))
      bytes += chunk.length
      if (bytes > PASSWORD_BYTES_MAX)
        throw unusable('what came on standard input is too long for a token')
      if (at >= 0) break
    }
  } catch (thrown) {
    throw world.stop.aborted ? stopped() : thrown
  }
  return Buffer.concat(parts)
}

function stopped(): Failure {
  return unusable('stopped before a token was there')
}

function unusable(problem: string): Failure {
  return new Failure('usage', { values: { problem } })
}
