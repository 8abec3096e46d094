/** JDBC, Debian's driver, in each of its query modes. */
import { join } from 'node:path'
import { CLIENT_GATES, converse, good, JDBC, NEEDS } from './clients.ts'
import { DATABASE, libpqEnvironment } from './place.ts'
import { compareText, type Section } from './section.ts'

const SOURCE = join(import.meta.dirname, 'Compat.java')
/** A JVM that is short. */
const JVM = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto', '-Duser.timezone=UTC']

export const jdbc: Section = {
  name: 'jdbc',
  needs: [NEEDS.java, NEEDS.jdbc],
  async run(stage) {
    const compiled = await converse('javac', ['-cp', JDBC, '-d', stage.dir, SOURCE], {})
    if (compiled.code !== 0) throw new Error(compiled.stderr)
    const row = await compareText(
      stage,
      'JDBC 42.5: simple, extended, extendedForPrepared, extendedCacheEverything',
      stage.server.directTls,
      CLIENT_GATES,
      async (place) => {
        const env = libpqEnvironment(place, 'maxroach')
        const tls = `sslmode=verify-full&sslrootcert=${stage.server.trust.ca.file}`
        const url = `jdbc:postgresql://127.0.0.1:${place.port}/${DATABASE}?${tls}`
        const args = [...JVM, '-cp', `${JDBC}:${stage.dir}`, 'Compat', url]
        return good(await converse('java', args, env)).replaceAll(url, 'URL')
      },
    )
    return [row]
  },
}
