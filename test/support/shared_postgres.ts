/** The PostgreSQL that all tests share (setup.ts), for a test file that looks at it past the gate. */
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, inject } from 'vitest'

export interface SharedPostgres {
  /** The node's address, its unix socket. */
  node: string
  /** The superuser, connected as long as the file's tests go on. */
  admin: pg.Client
}

export function sharedPostgres(database = 'postgres'): SharedPostgres {
  const { socketDir: host, port } = inject('postgres')
  const admin = new pg.Client({ host, port, user: 'postgres', database })
  beforeAll(() => admin.connect())
  afterAll(() => admin.end())
  return { node: join(host, `.s.PGSQL.${port}`), admin }
}
