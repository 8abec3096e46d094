/**
 * Files that are watched by looking at them: it works for mounts and for links that are swapped (as
 * Kubernetes does with secrets), where notifications don't.
 */
import { unwatchFile, watchFile } from 'node:fs'

const EVERY_MS = 2_000
/** A certificate and its key change one after the other: both are there when it is still again. */
const STILL_MS = 500

/** @returns what ends the watch. */
export function watchFiles(files: readonly string[], changed: () => void): () => void {
  let soon: NodeJS.Timeout | undefined
  const listener = () => {
    clearTimeout(soon)
    soon = setTimeout(changed, STILL_MS)
  }
  for (const file of files) watchFile(file, { interval: EVERY_MS }, listener)
  return () => {
    clearTimeout(soon)
    for (const file of files) unwatchFile(file, listener)
  }
}
