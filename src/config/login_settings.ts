/**
 * The keys of a cluster's section that say what a role signs in to the nodes with, where that is a
 * secret, and what becomes of clients that don't say that a token will come.
 * Rule: no value here is ever shown, and what two TLS connections can't keep between them is said aloud.
 */
import { z } from 'zod'
import { Secret } from '../secret.ts'
import { shown } from './mistakes.ts'
import { type Complain, OAUTH } from './trust_settings.ts'

const secret = z.unknown().transform((value, context) => {
  if (typeof value === 'string' && /^[^\0]+$/.test(value)) return new Secret(value)
  context.addIssue('write the secret as text in quotes, or {file: path}; it may not be empty')
  return z.NEVER
})

/** Whatever stands in the place of the names may be a secret. */
const unshown = {
  error: ({ code }: z.core.$ZodRawIssue) =>
    code === 'invalid_type' ? 'write scram: {secrets: {ROLE: {file: path}}}' : undefined,
}

export const loginKeys = {
  scram: z.strictObject({ secrets: z.record(z.string(), secret, unshown) }, unshown).optional(),
  non_jwt_logins: z.enum(['reject', 'passthrough', 'detect']).default('reject'),
  passthrough_scram: z.enum(['no_channel_binding']).optional(),
}

const section = z.object({
  ...loginKeys,
  sign_in: z.string(),
  management: z.object({ role: z.string() }).optional(),
  'server.oauthbearer_authentication.enabled': z.boolean(),
})
type LoginSection = z.output<typeof section>

/** What a check knows of a node, or of a listener. */
export interface Reached {
  unix: boolean
  tls: boolean
}

/** What no single key can know: keys that must agree with each other. */
export function checkLogins(
  section: LoginSection,
  nodes: readonly Reached[],
  complain: Complain,
): void {
  const { sign_in, scram, management, non_jwt_logins } = section
  const secrets = Object.keys(scram?.secrets ?? {})
  if (sign_in === 'scram' && secrets.length === 0)
    complain(['sign_in'], 'scram needs scram: {secrets: {ROLE: {file: path}}}, one for each role')
  else if (sign_in === 'scram' && management !== undefined && !secrets.includes(management.role))
    complain(
      ['management'],
      `scram.secrets has none for ${shown(management.role)}, which signs in as every role does`,
    )
  if (non_jwt_logins === 'passthrough' && nodes.some(({ unix, tls }) => !unix && !tls))
    complain(
      ['non_jwt_logins'],
      "passthrough sends users' passwords to the node; give it tls: {ca_file}, or the path of its unix socket",
    )
  if (non_jwt_logins !== 'reject' && section[`${OAUTH}.enabled`])
    complain(
      ['non_jwt_logins'],
      `a client can be asked one question: write reject, or turn ${OAUTH}.enabled off`,
    )
}

/**
 * Between a client's TLS and a node's, nothing can be bound to either; and where nobody comes by TLS,
 * nobody is asked for a password.
 */
export function checkListeners(
  listeners: readonly Reached[],
  clusters: Record<string, Pick<LoginSection, 'non_jwt_logins' | 'passthrough_scram'> & Nodes>,
  complain: Complain,
): void {
  const byTls = listeners.some(({ tls }) => tls)
  const isPrivate = byTls || listeners.some(({ unix }) => unix)
  for (const [name, { non_jwt_logins, passthrough_scram, nodes }] of Object.entries(clusters)) {
    const path = ['clusters', name, 'non_jwt_logins']
    if (non_jwt_logins === 'detect' && !isPrivate)
      complain(
        path,
        'detect asks for a password over TLS or on a unix socket alone; give a listener tls: {cert_file, key_file}',
      )
    if (non_jwt_logins !== 'passthrough' || passthrough_scram !== undefined || !byTls) continue
    if (nodes.some(({ tls }) => tls !== undefined))
      complain(
        path,
        "with TLS on both sides SCRAM's channel binding can't pass the gate; where clients can do without it (channel_binding=disable), write passthrough_scram: no_channel_binding",
      )
  }
}

type Nodes = { nodes: readonly { tls?: unknown }[] }
