/**
 * A PostgreSQL of its own whose management role has exactly the rights that `postern cluster setup`
 * prints. The superuser is `admin`.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type Management, openManagement } from '../../src/cluster/management.ts'
import type { Node } from '../../src/cluster/node.ts'
import type { Nodes } from '../../src/cluster/nodes.ts'
import { identifier } from '../../src/cluster/paste.ts'
import { setup } from '../../src/cluster/setup.ts'
import { startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { parseRolePattern, type RolePattern } from '../../src/identity/role_pattern.ts'
import { hasDebianPostgres, startDebianPostgres } from './debian_postgres.ts'

export const MANAGEMENT = 'postern_management'
/** Grantors of memberships are not the same before and after PostgreSQL 16. */
export const VERSIONS = hasDebianPostgres || process.env['CI'] !== undefined ? [18, 15] : [18]

export interface ManagedNode {
  node: Node
  management: Management
  /** The SQL that setup prints for it. */
  printed: string
  /** As the superuser. */
  sql(text: string): Promise<Record<string, unknown>[]>
  /** Of a role: those that the management role granted, and those of anybody else. */
  memberships(role: string): Promise<{ own: string[]; others: string[] }>
  close(): Promise<void>
}

export interface Rights {
  /** What groups may become, as the file says it; those that are no patterns are made. */
  roles?: string[]
  provisioning?: boolean
}

export function patterns(texts: string[]): RolePattern[] {
  return texts.map((text) => {
    const parsed = parseRolePattern(text)
    if (!parsed.ok) throw new Error(parsed.problem)
    return parsed.pattern
  })
}

export async function startManagedNode(version: number, rights: Rights): Promise<ManagedNode> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-managed-'))
  await chmod(dir, 0o711)
  const port = await freePort()
  const node = nodeAt({ path: join(dir, 'run', `.s.PGSQL.${port}`) })
  const printed = printedFor(node, rights)
  const lines = (place: string) =>
    printed.find((block) => block.place.startsWith(place))?.lines ?? []
  const start = version === 15 ? startDebianPostgres : startEmbeddedPostgres
  const server = await start({
    dir,
    port,
    uid: process.getuid?.() ?? 0,
    platform: process.platform,
    arch: process.arch,
    hba: ['local all admin trust', ...lines('pg_hba.conf')],
    ident: lines('pg_ident.conf'),
    sql: [{ database: 'postgres', statements: ['CREATE ROLE admin SUPERUSER LOGIN'] }],
  })
  const host = server.socketDir
  const admin = new pg.Client({ host, port, user: 'admin', database: 'postgres' })
  const sql = async (text: string) => (await admin.query(text)).rows ?? []
  const stop = async () => {
    await admin.end()
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  }
  const sinceSixteen = lines('SQL, as a superuser, in').join('\n')
  const toPaste =
    version === 15 ? sinceSixteen.replaceAll(SINCE_16, 'WITH ADMIN OPTION;') : sinceSixteen
  try {
    await admin.connect()
    for (const name of (rights.roles ?? []).filter((text) => !text.startsWith('/')))
      await sql(`CREATE ROLE ${identifier(name)}`)
    await sql(toPaste)
  } catch (thrown) {
    await stop()
    throw thrown
  }
  const management = openManagement(only(node), { role: MANAGEMENT })
  return {
    node,
    management,
    printed: toPaste,
    sql,
    async memberships(role) {
      const rows = await sql(
        `SELECT g.rolname AS name, by.rolname = '${MANAGEMENT}' AS own
         FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
         JOIN pg_roles by ON by.oid = m.grantor WHERE r.rolname = '${role}' ORDER BY g.rolname COLLATE "C"`,
      )
      const named = (own: boolean) =>
        rows.filter((row) => row['own'] === own).map((row) => String(row['name']))
      return { own: named(true), others: named(false) }
    },
    async close() {
      management.close()
      await stop()
    },
  }
}

/** What a comment there says about PostgreSQL 15. */
const SINCE_16 = 'WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;'

function printedFor(node: Node, { roles, provisioning = false }: Rights) {
  return setup(
    {
      node,
      trust: { enabled: true, issuers: new Set(), claim: '' },
      rules: { audiences: new Set() },
      management: { role: MANAGEMENT },
      authorization: roles && { roles: patterns(roles) },
      provisioning,
    },
    { gateAddress: undefined, osUser: userInfo().username },
  )
}

/** A node, for who wants nodes to choose from. */
export function only(node: Node): Pick<Nodes, 'reach' | 'isUp'> {
  return {
    isUp: () => true,
    async reach(attempt) {
      const value = await attempt(node, node.connectTimeoutMs)
      return { value, node, release: () => undefined }
    },
  }
}

export function nodeAt(address: Node['address'], dialect: Node['dialect'] = 'postgresql'): Node {
  return {
    name: 'managed',
    address,
    tls: undefined,
    signIn: 'path' in address ? 'peer' : 'trust',
    certificates: undefined,
    secrets: undefined,
    dialect,
    sendRemoteAddress: false,
    connectTimeoutMs: 5_000,
  }
}
