/**
 * The sample cluster of `postern dev` and of the tests: who may sign in, two databases, some rows.
 * No role has a password. The gate signs in by peer, as a member of postern_users and no one else;
 * a `+` before a role means its members, in pg_ident.conf since PostgreSQL 16.
 * https://www.postgresql.org/docs/18/auth-username-maps.html
 */

export interface DatabaseSql {
  database: string
  statements: string[]
}

export const SAMPLE_SQL: DatabaseSql[] = [
  {
    database: 'postgres',
    statements: [
      'CREATE ROLE postern_users NOLOGIN',
      'CREATE ROLE maxroach LOGIN IN ROLE postern_users',
      'CREATE ROLE carl LOGIN IN ROLE postern_users',
      'CREATE ROLE nologin_user NOLOGIN IN ROLE postern_users',
      // Outside postern_users: a role that exists and that the gate can't become.
      'CREATE ROLE app_reader LOGIN',
      'CREATE DATABASE defaultdb',
      'GRANT CONNECT, CREATE ON DATABASE defaultdb TO postern_users',
      'CREATE DATABASE maxroach OWNER maxroach',
    ],
  },
  {
    database: 'defaultdb',
    statements: [
      'GRANT USAGE, CREATE ON SCHEMA public TO postern_users',
      `CREATE TABLE accounts (
         id int PRIMARY KEY,
         owner text NOT NULL,
         balance numeric(12, 2) NOT NULL
       )`,
      `CREATE TABLE orders (
         id int PRIMARY KEY,
         account_id int NOT NULL REFERENCES accounts,
         item text NOT NULL,
         amount numeric(12, 2) NOT NULL,
         ordered_at timestamptz NOT NULL
       )`,
      `INSERT INTO accounts
         SELECT i, 'owner ' || i, i * 125.50 FROM generate_series(1, 20) AS i`,
      `INSERT INTO orders
         SELECT i, 1 + i % 20, (ARRAY['lamp', 'lantern', 'key', 'hinge', 'bolt'])[1 + i % 5],
           5 + i % 40, timestamptz '2026-01-01 00:00:00Z' + i * interval '6 hours'
         FROM generate_series(1, 100) AS i`,
      'GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, orders TO postern_users',
      'GRANT SELECT ON accounts, orders TO app_reader',
    ],
  },
]

/** The first line that fits decides, and what no line fits is refused. */
export function sampleHba(): string[] {
  return [
    'local all postgres       peer map=postern_admin',
    'local all +postern_users peer map=postern',
    'local all all            reject',
    'host  all all all        reject',
  ]
}

/** Who runs the sample owns its files, so `psql -U postgres` gives away nothing new. */
export function sampleIdent(osUser: string): string[] {
  // A quoted name is taken literally, except for a slash in front: that makes it a pattern.
  const name = `"${osUser.replaceAll('"', '""')}"`
  return [`postern ${name} +postern_users`, `postern_admin ${name} postgres`]
}
