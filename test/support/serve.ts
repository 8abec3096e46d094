/** `postern serve` as a child process, for tests that look at a gate from outside: its memory, its end. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { type GateOptions, gateConfig } from './gate.ts'
import { goodClaims, makeKey, mint } from './tokens.ts'
import { makeDirectory, type Program, startPostern } from './tools.ts'

export interface Served extends Program {
  port: number
  opsPort: number
  caPem: string
  caFile: string
  configFile: string
  auditFile: string
  /** A token that the gate accepts for this user. */
  token(sub: string): Promise<string>
  minted: string[]
  auditText(): Promise<string>
}

/** A configuration file with everything that it names beside it. */
export async function writeConfig(options: GateOptions, more: Record<string, unknown> = {}) {
  const dir = await makeDirectory()
  const at = (name: string) => join(dir, name)
  const [ca, key] = await Promise.all([makeCa(), makeKey('served-key')])
  const server = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1'] })
  const auditFile = at('audit.log')
  const config = { ...gateConfig(options, key), audit: { to: auditFile }, ...more }
  const files = {
    'ca.crt': ca.certPem,
    'server.crt': server.certPem,
    'server.key': server.keyPem,
    'postern.yaml': JSON.stringify(config, null, 2),
    ...options.files,
  }
  for (const [name, text] of Object.entries(files))
    await writeFile(at(name), text, { mode: name.endsWith('.key') ? 0o600 : 0o644 })
  return { configFile: at('postern.yaml'), auditFile, caFile: at('ca.crt'), caPem: ca.certPem, key }
}

export async function startServe(
  options: GateOptions,
  more: Record<string, unknown> = {},
): Promise<Served> {
  const { auditFile, key, ...files } = await writeConfig(options, more)
  const program = startPostern(['serve', '--config', files.configFile])
  const opened = await program.until(/"the gate is open"/)
  const port = Number(/"listening":\[\{"host":"127\.0\.0\.1","port":(\d+)\}/.exec(opened)?.[1])
  const opsPort = Number(/"ops":(\d+)/.exec(opened)?.[1] ?? 0)
  const minted: string[] = []
  return {
    ...program,
    ...files,
    auditFile,
    port,
    opsPort,
    minted,
    async token(sub) {
      const token = await mint(key, { claims: goodClaims(sub) })
      minted.push(token)
      return token
    },
    auditText: () => readFile(auditFile, 'utf8'),
  }
}
