/**
 * Where a client may come in: a server itself, or a gate in front of it. Both ask for a password in clear,
 * and for both it is the same token, so that a client can't tell them apart by how it signs in.
 */
import type { Environment } from '../bench/program.ts'
import { JWT_OPTION } from '../support/wire_client.ts'

export type Role = 'maxroach' | 'replica' | 'boss'

export interface Place {
  name: string
  port: number
  /** The certificate authority of its TLS, where clients are to use that. */
  tls: { pem: string; file: string } | undefined
  /** A gate wants to be told that a token comes. */
  isGate: boolean
  /** The same for a gate and for the server behind it. */
  tokens: Record<Role, string>
  /** Before each connection of the corpus; returns what is to be done once it is open. */
  prepare?: (role: Role, parameters: Record<string, string>) => Promise<() => Promise<void>>
}

export const DATABASE = 'compat'

/** The place's own switch, in front of what the client asks for by itself. */
export function optionsFor({ isGate }: Pick<Place, 'isGate'>, own = ''): string {
  return [isGate ? JWT_OPTION.options : '', own].filter((each) => each !== '').join(' ')
}

/** For programs that use libpq. */
export function libpqEnvironment(place: Place, role: Role, database = DATABASE): Environment {
  const { port, tls, tokens } = place
  return {
    PGHOST: '127.0.0.1',
    PGPORT: String(port),
    PGUSER: role,
    PGPASSWORD: tokens[role],
    PGDATABASE: database,
    PGOPTIONS: optionsFor(place),
    PSQLRC: '/dev/null',
    PSQL_HISTORY: '/dev/null',
    TZ: 'UTC',
    ...(tls === undefined
      ? { PGSSLMODE: 'disable' }
      : { PGSSLMODE: 'verify-full', PGSSLROOTCERT: tls.file }),
  }
}
