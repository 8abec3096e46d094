/**
 * What the sections of a configuration are read with: files, by paths from where the configuration is, the
 * environment's word on proxies, and where to complain.
 * Rule: a file that can't be read, or isn't what it should be, is a complaint at the key that names it.
 */
import type { Issuers } from '../issuers/issuers.ts'
import type { ConfigDocument, Outside } from './document.ts'
import type { Reading } from './nodes.ts'

/** @param issuers - of each cluster, from when the file was read before. */
export function openReading(
  document: ConfigDocument,
  outside: Outside,
  complain: Reading['complain'],
  issuers: ReadonlyMap<string, Issuers>,
): Reading {
  return {
    complain,
    pem(path, file, problemOf) {
      try {
        const pem = outside.readFile(document.resolve(file))
        const problem = problemOf(pem)
        if (problem === undefined) return pem
        complain(path, `${file} is ${problem}`)
      } catch (thrown) {
        complain(path, `cannot read ${file}: ${(thrown as Error).message}`)
      }
      return undefined
    },
    text: (file) => outside.readFile(document.resolve(file)),
    proxyEnv: {
      HTTPS_PROXY: outside.env('HTTPS_PROXY') ?? outside.env('https_proxy'),
      NO_PROXY: outside.env('NO_PROXY') ?? outside.env('no_proxy'),
    },
    isPrivate: (file) => (outside.fileMode(document.resolve(file)) & 0o077) === 0,
    resolve: document.resolve,
    now: outside.now,
    tellTo: (other) => openReading(document, outside, other, issuers),
    elsewhere: outside.elsewhere,
    issuers: (cluster) => issuers.get(cluster),
  }
}
