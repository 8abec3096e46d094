/**
 * Rows of failure.ts: what the gate says no to where it answers a statement itself, on a virtual node. A
 * session goes on after them, and they are an ERROR to it. docs/failures.md lists them with the others.
 */

const level = 'info'
const answer = { level, reason: 'UNKNOWN' } as const

export const ANSWERS = {
  // Statements, whatever they are about.
  answer_syntax: { ...answer, sqlstate: '42601', say: '{problem} at or near "{near}"' },
  answer_unsupported: {
    ...answer,
    sqlstate: '0A000',
    say: 'the gate has no answer to this: {what}',
    hint: 'this is no database: SHOW HELP tells what can be said here',
  },
  answer_several: {
    ...answer,
    sqlstate: '42601',
    say: 'cannot insert multiple commands into a prepared statement',
  },
  answer_prepared_twice: {
    ...answer,
    sqlstate: '42P05',
    say: 'prepared statement "{name}" already exists',
  },
  answer_no_statement: {
    ...answer,
    sqlstate: '26000',
    say: 'prepared statement "{name}" does not exist',
  },
  answer_no_portal: { ...answer, sqlstate: '34000', say: 'portal "{name}" does not exist' },
  answer_parameters: {
    ...answer,
    sqlstate: '08P01',
    say: 'bind message supplies {given} parameters, but the statement requires {wanted}',
  },
  answer_too_many: {
    ...answer,
    sqlstate: '54000',
    say: 'too many prepared statements or portals',
    hint: 'close those that are not needed any more',
  },
  answer_rows_kept: {
    ...answer,
    sqlstate: '54000',
    say: 'more than {most} rows wait in portals',
    hint: 'fetch the rest of them, or close their portals',
  },
  answer_statements: {
    ...answer,
    sqlstate: '54000',
    say: 'more than {most} statements in one message',
    hint: 'send them in several',
  },
  answer_transaction_failed: {
    ...answer,
    sqlstate: '25P02',
    say: 'current transaction is aborted, commands ignored until end of transaction block',
  },

  // The console.
  console_denied: {
    ...answer,
    reason: 'AUTHORIZATION_ERROR',
    sqlstate: '42501',
    say: 'permission denied for database "{database}"',
    hint: "it is the gate's console: console.admins names the roles that may use it, and they sign in by a token, to one of console.clusters",
  },
  console_expired: {
    ...answer,
    reason: 'AUTHORIZATION_ERROR',
    sqlstate: '42501',
    say: 'the token that this session came with has expired',
    hint: 'sign in again with a fresh token',
  },
  console_in_transaction: {
    ...answer,
    sqlstate: '25001',
    say: '{statement} cannot run inside a transaction block',
    hint: 'it takes effect at once, and no ROLLBACK takes it back: turn autocommit on',
  },
  console_not_found: { ...answer, sqlstate: '42704', say: '{what} "{name}" does not exist' },
  console_value: { ...answer, sqlstate: '22023', say: '{problem}' },
  console_fixed: {
    ...answer,
    sqlstate: '55P02',
    say: 'the setting "{name}" is set in the configuration file, at {place}',
    hint: 'change it there; or remove it there, and set it here',
  },
  console_trust: {
    ...answer,
    sqlstate: '42501',
    say: 'the setting "{name}" decides whom the gate trusts, or for how long',
    hint: 'change it in the configuration file; console.may_change_trust: true there lets admins change it here',
  },
  console_no_state: {
    ...answer,
    sqlstate: '55000',
    say: '{statement} needs the state that gates share, and this gate has none',
    hint: 'the configuration has no `state`: docs/state.md explains it',
  },
  console_timeout: {
    ...answer,
    level: 'warn',
    sqlstate: '57014',
    say: 'the statement was not done in time',
    hint: 'nothing was changed',
  },
  console_unsure: {
    ...answer,
    level: 'warn',
    sqlstate: '57014',
    say: 'it is not known whether the statement was done, or will be',
    hint: 'SHOW CHANGES tells whether it was',
  },
} as const

/** Of a NOTICE. */
export const SUCCESSFUL = '00000'
