/** `postern explain` on a token: the configuration in a file, the token on standard input. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect } from 'vitest'
import type { Check } from '../../src/cli/explanation.ts'
import type { Login } from '../../src/cli/explanation_login.ts'
import type { World } from '../../src/cli/terminal.ts'
import { type Claims, NOW } from './log_in.ts'
import { runIn } from './world.ts'

export interface Asked {
  settings: Claims
  token: string
  args?: string[]
  world?: Partial<World>
}

/** At NOW, unless told. What was said has neither the token nor anything that a terminal obeys. */
export async function explainToken(dir: string, { settings, token, args = [], world = {} }: Asked) {
  await writeFile(join(dir, 'postern.yaml'), settingsText(settings))
  const ended = await runIn(dir, ['explain', '--at', String(NOW), ...args], {
    stdin: () => Readable.from([Buffer.from(token)]),
    stop: new AbortController().signal,
    ...world,
  })
  const said = ended.stdout + ended.stderr
  for (const secret of [token.trim(), ...token.trim().split('.').slice(1)])
    if (secret.length > 20) expect(said).not.toContain(secret)
  expect(said.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  return ended
}

export interface Explained extends Login {
  checks: Check[]
  todo?: string
  notes: string[]
}

export async function explainAsJson(dir: string, asked: Asked): Promise<Explained> {
  const args = [...(asked.args ?? []), '--json']
  const { stdout } = await explainToken(dir, { ...asked, args })
  return JSON.parse(stdout) as Explained
}

/** The check that decided, with the failure's code: `exp invalid_token`; or `in as role`. */
export function cause({ checks, Failure, Role }: Explained): string {
  const [decided, ...more] = checks.filter(({ verdict }) => verdict === 'failed')
  expect(more).toEqual([])
  return decided === undefined ? `in as ${Role}` : `${decided.name} ${Failure}`
}

const OWN =
  /^(?:kind|nodes|sign_in|management|issuer_options|allow_roles|security\..*|.*_authentication\..*)$/

/** A configuration; `jwks` and the like without their long names, as in log_in.ts. */
export function settingsText(settings: Claims): string {
  const section = Object.entries(settings).map(([name, value]) => {
    if (OWN.test(name)) return [name, value]
    if (name === 'map') return ['server.identity_map.configuration', value]
    return [
      `server.jwt_authentication.${name === 'issuers' ? 'issuers.configuration' : name}`,
      value,
    ]
  })
  const nodes = [{ address: '/run/.s.PGSQL.5432' }]
  const cluster = { kind: 'cockroachdb', nodes, sign_in: 'peer', ...Object.fromEntries(section) }
  return JSON.stringify({ listeners: [{ directory: '/run' }], clusters: { test: cluster } })
}
