/**
 * One PostgreSQL for the whole run of the tests, given to them by `inject('postgres')`. It holds the
 * sample cluster; each way in which a node lets a gate sign in has a database or a line of pg_hba.conf
 * here. Tests that change a role or a table make their own.
 */
import { existsSync, rmSync } from 'node:fs'
import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { type Ca, issue, makeCa } from '../../src/dev/certificates.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/dev/embedded_postgres.ts'
import { freePort } from '../../src/dev/free_port.ts'
import { SAMPLE_SQL, sampleIdent } from '../../src/dev/sample.ts'

const HBA = [
  'local   all       postgres                    trust',
  'local   all       +postern_users              peer map=postern',
  'local   all       all                         reject',
  'host    trustdb   +postern_users 127.0.0.1/32 trust',
  'hostssl forwarddb +postern_users 127.0.0.1/32 password',
  'host    all       postgres       127.0.0.1/32 trust',
]

const DATABASES = {
  database: 'postgres',
  statements: ['CREATE DATABASE trustdb', 'CREATE DATABASE forwarddb'],
}

/** Another process may take a free port before PostgreSQL does. */
const TRIES = 3

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-test-'))
  await chmod(dir, 0o711)
  const ca = await makeCa()
  const server = await start(dir, ca, TRIES).catch((thrown: unknown) => {
    remove(dir)
    throw thrown
  })
  // A run that is cut short calls no teardown, and a closed terminal not even `exit`.
  const abandon = () => {
    process.kill(server.pid, 'SIGQUIT')
    remove(dir)
  }
  const hangUp = () => process.exit(129)
  process.once('exit', abandon).once('SIGHUP', hangUp)
  const { socketDir, port } = server
  project.provide('postgres', { socketDir, host: '127.0.0.1', port, caPem: ca.certPem })
  return async () => {
    process.off('exit', abandon).off('SIGHUP', hangUp)
    await server.stop()
    remove(dir)
  }
}

/** Again and again: `rmSync` gives up without a word when a dying server removes a file first. */
function remove(dir: string): void {
  for (let tries = 0; tries < 10 && existsSync(dir); tries++) {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function start(dir: string, ca: Ca, tries: number): Promise<EmbeddedPostgres> {
  const here = await issue(ca, { cn: 'localhost', sans: ['localhost', '127.0.0.1'] })
  try {
    return await startEmbeddedPostgres({
      dir,
      port: await freePort(),
      uid: process.getuid?.() ?? 0,
      platform: process.platform,
      arch: process.arch,
      hba: HBA,
      ident: sampleIdent(userInfo().username),
      sql: [...SAMPLE_SQL, DATABASES],
      settings: {
        ssl: 'on',
        ssl_cert_file: '../conf/server.crt',
        ssl_key_file: '../conf/server.key',
      },
      files: { 'server.crt': here.certPem, 'server.key': here.keyPem },
    })
  } catch (thrown) {
    if (tries === 1 || !String(thrown).includes('already in use')) throw thrown
    return await start(dir, ca, tries - 1)
  }
}
