/**
 * Under which names there is a status page. A web site may point its own name to an address of ours, and
 * would then read the page as its own (DNS rebinding); but the browser still says that name.
 * https://www.rfc-editor.org/rfc/rfc9110#section-7.2
 * Rule: an address can't be rebound; of names only those count that are known.
 */
import { isIP } from 'node:net'

/**
 * @param header - of the request, as it came
 * @param names - that count, beside `localhost`; in small letters
 */
export function isKnownHost(header: string | undefined, names: readonly string[]): boolean {
  const [, inBrackets, plain = ''] =
    /^(?:\[([^\]]+)\]|([^:]+))(?::\d{1,5})?$/.exec(header ?? '') ?? []
  if (inBrackets !== undefined) return isIP(inBrackets) === 6
  const name = plain.toLowerCase()
  return isIP(name) === 4 || name === 'localhost' || names.includes(name)
}
