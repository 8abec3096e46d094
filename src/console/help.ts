/** What can be said to the console, as SHOW HELP has it. */
import type { View } from './views.ts'

const STATEMENTS: readonly [statement: string, what: string][] = [
  [
    'SHOW SESSIONS',
    'who is signed in on this gate, by which issuer, by which rule, and how long it took',
  ],
  ['SHOW NODES', 'each node, and how many workers see it up, draining or down'],
  ['SHOW ISSUERS', 'each issuer: how old its keys are, and how the last fetch went'],
  ['SHOW KEYS', 'the keys that tokens are verified with'],
  ['SHOW CERTIFICATES', 'when each certificate ends, the next one first'],
  ['SHOW REFUSALS', 'who was refused within the last hour, and why'],
  ['SHOW THROTTLED', 'who has to wait before the next attempt'],
  ['SHOW ACCESS', 'who may come in: rules and lists'],
  ['SHOW REVOCATIONS', 'what is revoked for all gates'],
  ['SHOW CHANGES', 'what was changed, by whom, the newest first'],
  ['SHOW STATS', 'the metrics'],
  ['SHOW VERSION', 'which Postern this is, and since when it runs'],
  ['SHOW CLUSTER SETTINGS', 'settings that can be changed while gates run'],
  ['SHOW CLUSTER SETTING name', 'one of them'],
  ["SHOW … WHERE column = 'value' AND … LIMIT n", 'some rows of any view; also < > <= >='],
  ["SET CLUSTER SETTING name = 'value'", 'for all gates, under what their files say'],
  ['RESET CLUSTER SETTING name', 'as it is by default'],
  ["REVOKE TOKEN 'jti' [ISSUER '…'] [REASON '…']", 'on all gates; its sessions end'],
  ["REVOKE DIGEST '…' [REASON '…']", 'a token without an id'],
  ["REVOKE SESSION '…' [REASON '…']", 'on whichever gate it is'],
  ["REVOKE SUBJECT '…' ISSUER '…' [BEFORE 'time'] [REASON '…']", "somebody's tokens"],
  ["REVOKE ISSUER '…' [BEFORE 'time'] [REASON '…']", "all of an issuer's tokens"],
  ["CANCEL SESSION 'id'", 'ends a session of this gate'],
  ["DRAIN NODE 'name' [CLUSTER '…']", 'this gate gives it no new sessions'],
  ["UNDRAIN NODE 'name' [CLUSTER '…']", 'it does again'],
  ['RELOAD', 'this gate reads its configuration again'],
  ['SHOW HELP', 'this; or HELP, which psql takes for itself'],
]

export const HELP: View = {
  columns: [
    { name: 'statement', type: 'text' },
    { name: 'what', type: 'text' },
  ],
  rows: STATEMENTS,
}
