/**
 * What an attacker has: an account of nobody's, a token of his own making or of another service's, a socket
 * to the gate, a web server. Attempts are made from outside, against a whole gate in front of the real
 * PostgreSQL, and come to one line: who he is to the node, or what he was told.
 */
import { join } from 'node:path'
import { afterAll, inject } from 'vitest'
import { type GateOptions, startGate, type TestGate } from '../support/gate.ts'
import {
  type IssuerServer,
  type IssuerServerWanted,
  openIssuerServer,
} from '../support/issuer_server.ts'
import {
  type Message,
  message,
  openPlain,
  openTls,
  query,
  refusalOf,
  signIn,
  uint32,
  type WireClient,
} from '../support/wire_client.ts'

export const JWT = 'server.jwt_authentication'
export const USER = { user: 'maxroach', database: 'defaultdb' }
/** Who the node says that it is, and on whose behalf. */
const WHO = `SELECT concat_ws(' as ', session_user, nullif(current_user, session_user))`
/** What an honest client comes to. */
export const IN = 'in as maxroach'

export function realNode(): string {
  const { socketDir, port } = inject('postgres')
  return join(socketDir, `.s.PGSQL.${port}`)
}

/** Gates and issuers of one test file, closed behind it; a gate in front of the real node unless told. */
export function battlefield() {
  const open: { close(): Promise<void> }[] = []
  afterAll(async () => {
    for (const each of open.reverse()) await each.close()
  })
  const keep = <T extends { close(): Promise<void> }>(one: T): T => {
    open.push(one)
    return one
  }
  return {
    keep,
    async issuer(wanted?: IssuerServerWanted): Promise<IssuerServer> {
      return keep(await openIssuerServer(wanted))
    },
    async gate(options: Partial<GateOptions> = {}): Promise<TestGate> {
      return keep(await startGate({ node: realNode(), ...options }))
    },
    /** A gate that fetches the keys of these issuers, which have one CA. */
    async gateOf(
      issuers: IssuerServer[],
      { cluster, ...more }: Partial<GateOptions> = {},
    ): Promise<TestGate> {
      const believed = {
        [`${JWT}.issuers.configuration`]: issuers.map(({ issuer }) => issuer),
        [`${JWT}.jwks_auto_fetch.enabled`]: true,
        [`${JWT}.issuers.custom_ca`]: issuers[0]?.caPem,
      }
      return keep(
        await startGate({ node: realNode(), cluster: { ...believed, ...cluster }, ...more }),
      )
    },
  }
}

/** `in as ROLE`, by the node's own word; or SQLSTATE, message and detail; or `closed`. */
export async function attempt(
  { port, caPem }: { port: number; caPem: string },
  token: string,
  parameters: Record<string, string> = USER,
): Promise<string> {
  const client = await openTls(port, caPem)
  try {
    return await outcome(client, await signIn(client, parameters, token))
  } finally {
    client.close()
  }
}

/** @param said - up to ReadyForQuery, or the refusal */
export async function outcome(client: WireClient, said: Message[]): Promise<string> {
  const refusal = refusalOf(said)
  if (refusal !== undefined)
    return `${refusal['C']}: ${[refusal['M'], refusal['D']].filter(Boolean).join(' / ')}`
  if (said.at(-1)?.type !== 'Z') return 'closed'
  return `in as ${await value(client, WHO)}`
}

/** A token as the first answer to an offer of OAUTHBEARER (RFC 7628); none where it is empty. */
export function bearing(token: string): Buffer {
  const bytes = Buffer.from(`n,,\x01auth=${token && `Bearer ${token}`}\x01\x01`)
  return message('p', Buffer.concat([Buffer.from('OAUTHBEARER\0'), uint32(bytes.length), bytes]))
}

/** The first column of the first row, or the error's text. */
export async function value(client: WireClient, sql: string): Promise<string> {
  client.write(query(sql))
  const answer = await client.until('Z')
  const row = answer.find(({ type }) => type === 'D')
  return row === undefined ? (refusalOf(answer)?.['M'] ?? '') : row.body.toString('utf8', 6)
}

/** Everything that comes until the gate closes; the attacker sends this and nothing more. */
export async function shout(port: number, ...bytes: Buffer[]): Promise<Buffer> {
  const client = await openPlain({ host: '127.0.0.1', port })
  return await heard(client, ...bytes)
}

export async function heard(client: WireClient, ...bytes: Buffer[]): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (const each of bytes) client.write(each)
  for (;;) {
    const byte = await client.bytes(1)
    if (byte.length === 0) break
    chunks.push(Buffer.from(byte))
  }
  client.close()
  return Buffer.concat(chunks)
}
