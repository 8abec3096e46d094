/**
 * What the cluster needs that keeps the shared state: a database, and a role that owns it, as text to paste.
 * https://www.postgresql.org/docs/18/ddl-priv.html
 * Rule: nobody else has anything there; a new database lets everybody in until that is taken back.
 */
import { identifier } from './paste.ts'
import type { Block } from './setup.ts'

export interface SharedState {
  role: string
  database: string
}

/** @param makeRole - statements that make a role that may log in, unless it is there. */
export function stateBlocks(
  { role, database }: SharedState,
  makeRole: (role: string) => string[],
): Block[] {
  const [owner, name] = [identifier(role), identifier(database)]
  return [
    {
      place: 'SQL, as a superuser: who owns the shared state',
      lines: [
        '-- Nobody may be a member of it, and no token is enough to become it.',
        ...makeRole(role),
      ],
    },
    {
      place: 'SQL, as a superuser: the database of the shared state',
      lines: [
        '-- A statement that stands alone; where the database is there already, it says so.',
        `CREATE DATABASE ${name} OWNER ${owner};`,
      ],
    },
    {
      place: `SQL, as a superuser, in the database ${database}`,
      lines: [
        '-- The gate makes its tables itself. Until these are revoked it does not start.',
        `REVOKE ALL ON DATABASE ${name} FROM PUBLIC;`,
        'REVOKE ALL ON SCHEMA public FROM PUBLIC;',
      ],
    },
  ]
}

export function cockroachState({ role, database }: SharedState): string[] {
  const [owner, name] = [identifier(role), identifier(database)]
  return [
    '',
    '-- The shared state: a database, and who owns it. Nobody else may have anything there; the gate makes',
    '-- its tables itself.',
    `CREATE USER IF NOT EXISTS ${owner};`,
    `CREATE DATABASE IF NOT EXISTS ${name};`,
    `ALTER DATABASE ${name} OWNER TO ${owner};`,
    `REVOKE ALL ON DATABASE ${name} FROM public;`,
    `REVOKE ALL ON SCHEMA ${name}.public FROM public;`,
  ]
}
