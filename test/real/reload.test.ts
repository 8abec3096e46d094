/**
 * A gate whose configuration changes while it runs: whom it lets in from then on is other, those who
 * are in stay, and a file with mistakes changes nothing.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { makeCa } from '../../src/dev/certificates.ts'
import { openIssuerServer } from '../support/issuer_server.ts'
import { type Served, startServe } from '../support/serve.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'
import { expectNoToken, pgConfig } from '../support/tools.ts'

const postgres = inject('postgres')
const node = join(postgres.socketDir, `.s.PGSQL.${postgres.port}`)
const JWT = 'server.jwt_authentication'

type Configuration = {
  listeners: Record<string, unknown>[]
  clusters: Record<string, Record<string, unknown>>
} & Record<string, unknown>

let gate: Served
const clients: pg.Client[] = []
beforeEach(async () => {
  gate = await startServe({ node })
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
  gate.child.kill('SIGTERM')
  const { code, stderr } = await gate.ended
  expect(code).toBe(0)
  if (gate.minted.length > 0) expectNoToken(gate.minted, stderr, await gate.auditText())
})

describe('a configuration that is read again', () => {
  it('holds for whom comes from then on, and those who are in stay', async () => {
    const before = await comeIn()
    await change(({ clusters }) => {
      Object.assign(clusters['test'] ?? {}, { [`${JWT}.audience`]: 'somebody-else' })
    })
    await reload('the configuration was read again')
    await expect(comeIn()).rejects.toThrow('JWT authentication: invalid audience')
    expect((await before.query('select current_user as me')).rows).toEqual([{ me: 'maxroach' }])
  })

  it('is read when the file changes, or one that is named in it', async () => {
    const audience = join(gate.configFile, '../audience')
    const was = configuration(await readFile(gate.configFile, 'utf8')).clusters['test']
    await writeFile(audience, 'somebody-else\n')
    await change(({ clusters }) => {
      Object.assign(clusters['test'] ?? {}, { [`${JWT}.audience`]: { file: 'audience' } })
    })
    await gate.until('the configuration was read again')
    await expect(comeIn()).rejects.toThrow('JWT authentication: invalid audience')
    await writeFile(audience, `${was?.[`${JWT}.audience`]}\n`)
    await expect.poll(() => times('the configuration was read again'), { timeout: 10_000 }).toBe(2)
    await comeIn()
  })

  it('with mistakes changes nothing, and the log has each of them', async () => {
    await writeFile(gate.configFile, 'listeners: 5\nlimits: {connections: 0}\n')
    await reload('the configuration in use is kept')
    await expect.poll(gate.said).toMatch(/kept: .*postern\.yaml:1:12: .*/)
    expect(gate.said()).toMatch(/kept: .*postern\.yaml:2:23: write a number of at least 1/)
    await comeIn()
  })

  it('that is gone changes nothing either', async () => {
    await writeFile(gate.configFile, '')
    await reload('the configuration in use is kept')
    await comeIn()
  })

  it('says what it takes a new start for', async () => {
    await change((file) => {
      file.listeners.push({ address: '127.0.0.1:0', allow_plaintext: true })
      file['ops'] = {}
      file['audit'] = { to: 'stdout' }
    })
    await reload('the configuration was read again')
    for (const what of ['listeners', 'ops.listen', 'audit.to'])
      expect(gate.said()).toContain(`${what} stays as it is until the gate is started again`)
    await comeIn()
    expect((await fetch(`http://127.0.0.1:${gate.opsPort}/livez`)).status).toBe(200)
  })

  it('has its limits, its level of the log, and what listeners allow hold at once', async () => {
    const only = await comeIn()
    await change((file) => {
      file['limits'] = { connections: 1 }
      file['log'] = { level: 'error' }
    })
    await reload('the configuration was read again')
    await expect(comeIn()).rejects.toThrow('sorry, too many clients already')
    await change((file) => {
      file['limits'] = {}
      Object.assign(file.listeners[0] ?? {}, { tls: undefined, allow_plaintext: true })
    })
    // Now that it says only what is wrong, nothing is said of it.
    gate.child.kill('SIGHUP')
    await expect.poll(() => comeIn({ ssl: false }).then(() => 'in', String)).toBe('in')
    await only.query('select 1')
    expect(times('the configuration was read again')).toBe(1)
  })
})

it('counts the nodes that it names now, and forgets others', async () => {
  const nodes = async () => {
    const text = await (await fetch(`http://127.0.0.1:${gate.opsPort}/metrics`)).text()
    const up = text.split('\n').filter((line) => /^postern_nodes\{.*state="up"/.test(line))
    return up.map((line) => line.replace(/.*node="(.*?)".* (\d+)/, '$1 $2'))
  }
  const name = async (...named: string[]) => {
    const more = { nodes: named.map((address) => ({ address })), sign_in: 'trust' }
    await change(({ clusters }) => Object.assign(clusters['test'] ?? {}, more))
    gate.child.kill('SIGHUP')
  }
  expect(await nodes()).toEqual([`${node} 1`])
  await name(node, '127.0.0.1:1')
  await expect.poll(nodes, { timeout: 5_000 }).toEqual([`${node} 1`, '127.0.0.1:1 1'])
  await name('127.0.0.1:1')
  await expect.poll(nodes, { timeout: 5_000 }).toEqual(['127.0.0.1:1 1'])
})

it('goes on with the keys of an issuer of which nothing changed, and not with another one’s', async () => {
  const ca = await makeCa('The CA of the issuers')
  const issuer = await openIssuerServer({ ca })
  const key = await makeKey('issued')
  issuer.publish(key)
  const settings = {
    [`${JWT}.issuers.configuration`]: issuer.issuer,
    [`${JWT}.jwks_auto_fetch.enabled`]: true,
    [`${JWT}.issuers.custom_ca`]: ca.certPem,
    issuer_options: { [issuer.issuer]: { jwks_min_fresh: '1h' } },
  }
  const token = await mint(key, { claims: { ...goodClaims('maxroach'), iss: issuer.issuer } })
  gate.minted.push(token)
  const set = async (more: Record<string, unknown>, round: number) => {
    await change(({ clusters }) => Object.assign(clusters['test'] ?? {}, settings, more))
    gate.child.kill('SIGHUP')
    await expect.poll(() => times('the configuration was read again')).toBe(round)
  }
  try {
    await set({}, 1)
    await comeIn({ password: token })
    const { jwks } = issuer.hits
    await set({ allow_roles: ['root'] }, 2)
    await comeIn({ password: token })
    expect(issuer.hits.jwks).toBe(jwks)
    await set({ [`${JWT}.client.timeout`]: '9s' }, 3)
    await comeIn({ password: token })
    expect(issuer.hits.jwks).toBe(jwks + 1)
  } finally {
    await issuer.close()
  }
})

async function comeIn(more: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client(pgConfig(gate, 'maxroach', await gate.token('maxroach'), more))
  client.on('error', () => undefined)
  await client.connect()
  clients.push(client)
  return client
}

function configuration(text: string): Configuration {
  return JSON.parse(text) as Configuration
}

async function change(edit: (file: Configuration) => void): Promise<void> {
  const file = configuration(await readFile(gate.configFile, 'utf8'))
  edit(file)
  await writeFile(gate.configFile, JSON.stringify(file, null, 2))
}

async function reload(until: string): Promise<void> {
  gate.child.kill('SIGHUP')
  await gate.until(until)
}

function times(line: string): number {
  return gate.said().split(line).length - 1
}
