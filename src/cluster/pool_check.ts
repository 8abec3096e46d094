/**
 * May a kept session go to a client now? One question, before it does: the role may still log in and
 * connect, under the name that was granted (a CONNECTION LIMIT of 0 says no as well), and its random
 * generator gets a seed that nobody knows.
 * Rule: every name is qualified, and no name of a role or a database is written into the text.
 */
import { randomBytes } from 'node:crypto'
import type { Leg } from '../leg.ts'
import type { Dialect } from '../wire/options.ts'
import { query } from '../wire/rows.ts'
import { Doubt, exactAnswer } from './exact_answer.ts'
import type { SignIn } from './node.ts'

export interface Checked {
  role: string
  dialect: Dialect
  signIn: SignIn
  parameters: ReadonlyMap<string, string>
}

const SEED_BYTES = 6

/** @throws Doubt; what ended the leg or its deadline */
export async function poolCheck(leg: Leg, about: Checked): Promise<void> {
  const seed = randomSeed()
  leg.send(
    query(about.dialect === 'postgresql' ? postgresql(about, seed) : cockroachdb(about, seed)),
  )
  const [name, nonce, ...allowed] = await exactAnswer(leg, ['SELECT 1'], about.parameters)
  // An answer to another question, be it ever so much alike, has another seed in it.
  if (nonce !== seed) throw new Doubt('an answer to another question')
  if (name !== nameIn(about)) throw new Doubt('the role has another name now')
  if (allowed.length !== CONDITIONS || !allowed.every((each) => each === 't'))
    throw new Doubt('the role may not come in any more')
}

/** What both ask, each as one column that has to be true. */
const CONDITIONS = 3

function nameIn({ role, dialect }: Checked): string {
  return dialect === 'postgresql' ? Buffer.from(role).toString('hex') : role
}

/**
 * The role's name as bytes: in a session of another encoding it would come as other ones. `setseed`
 * needs no column of its own.
 */
function postgresql({ signIn, parameters }: Checked, seed: string): string {
  const toldSuper = parameters.get('is_superuser') === 'on'
  // Of the ways to sign in only a password has an end of its own.
  const notOver =
    signIn === 'scram'
      ? '(r.rolvaliduntil IS NULL OR r.rolvaliduntil OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp())'
      : 'true'
  return `SELECT pg_catalog.encode(pg_catalog.convert_to(r.rolname::pg_catalog.text, pg_catalog.getdatabaseencoding()), 'hex'),
    '${seed}',
    r.rolcanlogin AND d.datallowconn AND current_user OPERATOR(pg_catalog.=) session_user
      AND r.rolsuper OPERATOR(pg_catalog.=) ${toldSuper}
      AND r.rolconnlimit OPERATOR(pg_catalog.<>) 0 AND d.datconnlimit OPERATOR(pg_catalog.<>) 0,
    pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT'),
    ${notOver} AND pg_catalog.setseed(${seed}) IS NOT NULL
  FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d
  WHERE r.rolname OPERATOR(pg_catalog.=) session_user
    AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`
}

/** It has UTF-8 alone, no seed of a session's own, and lets everybody into every database. */
function cockroachdb({ signIn }: Checked, seed: string): string {
  const notOver =
    signIn === 'scram'
      ? '(r.rolvaliduntil IS NULL OR r.rolvaliduntil > pg_catalog.clock_timestamp())'
      : 'true'
  return `SELECT r.rolname, '${seed}', r.rolcanlogin AND ${notOver}, session_user = current_user,
    pg_catalog.has_database_privilege(session_user, pg_catalog.current_database(), 'CONNECT')
  FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user`
}

/** From 0 to 1, with as many bits as the generator takes. */
function randomSeed(): string {
  return (randomBytes(SEED_BYTES).readUIntBE(0, SEED_BYTES) / 2 ** (8 * SEED_BYTES)).toFixed(15)
}
