/** Through which gates a client goes, and how it is run there. */
import { text } from 'node:stream/consumers'
import { type Environment, startClient } from '../bench/program.ts'
import { GATES } from './gates.ts'
import type { Need } from './section.ts'

/** Over TLS to the client, as people do; the node by a unix socket, by TLS, kept for the next one. */
export const CLIENT_GATES = [GATES.usual, GATES.tlsNode, GATES.pool, GATES.workers].map((spec) => ({
  spec,
  place: (gate: Awaited<ReturnType<typeof import('./gates.ts').startGate>>) => gate.tls,
}))

export const PYTHON = '/usr/bin/python3'
export const JDBC = '/usr/share/java/postgresql.jar'

export const NEEDS = {
  psql: { program: 'psql', args: ['--version'], debian: 'postgresql-client' },
  pgbench: { program: 'pgbench', args: ['--version'], debian: 'postgresql' },
  psycopg2: { program: PYTHON, args: ['-c', 'import psycopg2'], debian: 'python3-psycopg2' },
  java: { program: 'javac', args: ['-version'], debian: 'default-jdk-headless' },
  jdbc: { program: 'test', args: ['-f', JDBC], debian: 'libpostgresql-jdbc-java' },
} satisfies Record<string, Need>

export interface Said {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a client to its end, whatever that is. @param until - called while it runs, with what it reads. */
export async function converse(
  program: string,
  args: string[],
  env: Environment,
  input = '',
  meanwhile?: (child: ReturnType<typeof startClient>) => Promise<void>,
): Promise<Said> {
  const child = startClient(program, args, env, { stdin: 'pipe' })
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve)
    child.once('error', reject)
  })
  child.stdin?.on('error', () => undefined)
  if (meanwhile === undefined) child.stdin?.end(input)
  else child.stdin?.write(input)
  const { stdout, stderr } = child
  if (stdout === null || stderr === null) throw new Error('no pipes')
  const [code, out, err] = await Promise.all([
    closed,
    text(stdout),
    text(stderr),
    meanwhile?.(child),
  ])
  return { code, stdout: out, stderr: err }
}

/** For a comparison: all that was said, and how it ended. */
export function whole({ code, stdout, stderr }: Said): string {
  return [stdout, stderr, `ended with ${code}`].join('\n')
}

/** The same of one that has to end well: two failures that are alike would prove nothing. */
export function good(said: Said): string {
  if (said.code !== 0) throw new Error(`a client failed:\n${whole(said).slice(-2_000)}`)
  return whole(said)
}
