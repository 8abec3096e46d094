/**
 * Rows of failure.ts: what ends a command, or keeps a gate from opening; the exit code says which kind it is.
 * docs/failures.md lists them with the others.
 */

const usage = { sqlstate: 'F0000', level: 'error', reason: 'UNKNOWN' } as const

export const COMMANDS = {
  usage: { ...usage, say: '{problem}', exit: 64 },
  config_unreadable: { ...usage, say: 'cannot read {file}: {problem}', exit: 2 },
  cannot_write: { ...usage, say: 'cannot write to {file}: {problem}', exit: 1 },
  config_invalid: { ...usage, say: '{problems}', exit: 2 },
  config_warnings: { ...usage, level: 'warn', say: '{problem}', exit: 1 },
  cannot_listen: { ...usage, say: 'cannot listen on {address}: {problem}', exit: 1 },
  workers_failed: { ...usage, say: 'the worker processes do not stay up: {problem}', exit: 1 },
  state_unusable: { ...usage, say: '{problem}', exit: 1 },
  ca_failed: { ...usage, say: '{problem}', exit: 1 },
  doctor_found: { ...usage, say: '{problem}', exit: 1 },
  explain_refused: { ...usage, level: 'info', say: '{problem}', exit: 1 },
  audit_broken: { ...usage, say: '{problem}', exit: 1 },
  replay_differs: { ...usage, level: 'info', say: '{problem}', exit: 1 },
  dev_failed: { ...usage, say: '{problem}', exit: 1 },
} as const
