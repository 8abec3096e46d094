/** Work that may never come to its end, waited for as long as it is worth. Rule: it goes on, and is not waited for. */

/** @throws Error `late` after so many milliseconds */
export async function within<T>(work: Promise<T>, ms: number, late: string): Promise<T> {
  const over = Promise.withResolvers<never>()
  const timer = setTimeout(() => over.reject(new Error(late)), ms)
  return await Promise.race([work, over.promise]).finally(() => clearTimeout(timer))
}

/**
 * The same, for work that many wait for. Once somebody waited too long nobody else does until that work has
 * settled: who waits for what hangs is kept in memory.
 */
export function openWithin(
  work: () => Promise<unknown>,
  ms: number,
  late: string,
): () => Promise<void> {
  let hanging: Promise<unknown> | undefined
  return async () => {
    if (hanging !== undefined) throw new Error(late)
    let settled = false
    const settle = () => {
      settled = true
      if (hanging === working) hanging = undefined
    }
    const working = work()
    working.then(settle, settle)
    try {
      await within(working, ms, late)
    } catch (thrown) {
      if (!settled) hanging = working
      throw thrown
    }
  }
}
