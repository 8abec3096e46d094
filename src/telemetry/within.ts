/** Work that may never come to its end, waited for as long as it is worth. Rule: it goes on, and is not waited for. */

/** @throws Error `late` after so many milliseconds */
export async function within<T>(work: Promise<T>, ms: number, late: string): Promise<T> {
  const over = Promise.withResolvers<never>()
  const timer = setTimeout(() => over.reject(new Error(late)), ms)
  return await Promise.race([work, over.promise]).finally(() => clearTimeout(timer))
}
