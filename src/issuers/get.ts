/**
 * One guarded GET of one document of an issuer. A URL may come out of a document that somebody else
 * wrote, so it says no more than where to: https alone, no address of addresses.ts, no other host by
 * redirect, a bounded body, and one deadline for everything from the DNS to the body's last byte.
 * Rule: an error's text is for the log; where a credential was sent, it has nothing of the body.
 */
import { lookup as resolve } from 'node:dns'
import { once } from 'node:events'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { isLoopback, isRefusedHost } from './addresses.ts'
import {
  askedOnce,
  type Connecting,
  hostOf,
  openConnection,
  type ProxyEnv,
  secureContextOf,
  type Trust,
} from './agent.ts'

export interface GetSettings extends Trust {
  /** For everything: DNS, proxy, TLS, redirects and bodies. Milliseconds. */
  timeoutMs: number
  /** http is allowed, to an address of this machine and nowhere else. */
  plaintextLoopback: boolean
  proxyEnv: ProxyEnv
}

/** What came with a status of success. */
export interface Answer {
  /** Where it came from, after redirects. */
  url: string
  status: number
  /** Lower-case names, in order, duplicates kept. */
  headers: readonly (readonly [name: string, value: string])[]
  body: string
  /** When the request was sent and the answer's headers had come; milliseconds since the epoch. */
  requestedMs: number
  receivedMs: number
}

/** @throws Error, with a message for the log; whatever isn't an answer of success is one. */
export type Get = (url: string, headers?: Record<string, string>) => Promise<Answer>

const BODY_BYTES_MAX = 1024 * 1024
const REDIRECTS_MAX = 3
const REDIRECTS = new Set([301, 302, 303, 307, 308])
/** What a log line may have of an answer that is no success, of an error of others, and of a URL. */
const EXCERPT_CHARACTERS = 200
const ERROR_CHARACTERS = 500
const URL_CHARACTERS = 2_000
const BYTES_PER_CHARACTER = 4

/**
 * @param stop - ends what is under way, for good.
 * @param lookup - the DNS; every address that it gives is judged before it is used.
 */
export function openGet(
  settings: GetSettings,
  now: () => number,
  stop: AbortSignal,
  lookup: LookupFunction = resolve,
): Get {
  const { timeoutMs, plaintextLoopback, proxyEnv } = settings
  const secureContext = secureContextOf(settings)
  const connecting = { secureContext, proxyEnv, lookup: askedOnce(lookup) }
  return async (text, headers = {}) => {
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), stop])
    let url = parseUrl(text, plaintextLoopback)
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const answer = await visit(url, { headers, connecting, now, signal })
      if (!(answer instanceof URL)) return answer
      if (answer.origin !== url.origin) throw redirectRefused(url, answer)
      url = parseUrl(answer.href, plaintextLoopback)
    }
    throw failed(url.href, `stopped after ${REDIRECTS_MAX} redirects`)
  }
}

interface Visit {
  headers: Record<string, string>
  connecting: Connecting
  now: () => number
  signal: AbortSignal
}

/** @returns where to go instead, if that is the answer. */
async function visit(url: URL, { headers, connecting, now, signal }: Visit): Promise<Answer | URL> {
  let hangUp = () => {}
  let response: IncomingMessage | undefined
  try {
    const requestedMs = now()
    const sent = send(url, headers, connecting)
    hangUp = sent.hangUp
    // A body that doesn't end is cut off by the same deadline.
    signal.addEventListener('abort', hangUp)
    response = await firstResponse(sent.request, signal)
    const receivedMs = now()
    const { statusCode: status = 0, headers: told } = response
    if (REDIRECTS.has(status) && told.location !== undefined) return follow(url, told.location)
    if (status < 200 || status > 299) throw await unsuccessful(url, response, headers)
    const body = await readBody(response)
    return { url: url.href, status, headers: pairs(response), body, requestedMs, receivedMs }
  } catch (thrown) {
    if (thrown instanceof GetError) throw thrown
    throw failed(url.href, signal.aborted ? late(signal, response) : says(thrown))
  } finally {
    signal.removeEventListener('abort', hangUp)
    hangUp()
  }
}

function send(url: URL, headers: Record<string, string>, connecting: Connecting) {
  const connection = openConnection(url, connecting)
  const request = (url.protocol === 'http:' ? requestHttp : requestHttps)(url, {
    agent: connection.agent,
    headers: { accept: 'application/json', 'accept-encoding': 'identity', ...headers },
  })
  // Whoever waits hears of the first error; what comes after it is nobody's.
  request.on('error', () => undefined)
  request.end()
  const hangUp = () => {
    request.destroy()
    connection.hangUp()
  }
  return { request, hangUp }
}

async function firstResponse(
  request: ReturnType<typeof requestHttp>,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const [response]: IncomingMessage[] = await once(request, 'response', { signal })
  if (response === undefined) throw new Error('no response')
  return response
}

function parseUrl(text: string, plaintextLoopback: boolean): URL {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase() ?? ''
  if (scheme !== 'https' && scheme !== 'http')
    throw failed(text, `unsupported protocol scheme "${scheme}"`)
  const url = URL.parse(text)
  if (url === null) throw failed(text, 'invalid URL')
  if (url.username !== '' || url.password !== '')
    throw failed(url.href, 'a user or a password in a URL is refused')
  const host = hostOf(url)
  if (isRefusedHost(host)) throw failed(url.href, 'refused address')
  // Where a name leads to is judged when it is resolved.
  if (scheme === 'http' && !(plaintextLoopback && (!isIP(host) || isLoopback(host))))
    throw failed(url.href, 'http is refused: use https')
  return url
}

function follow(from: URL, location: string): URL {
  const to = URL.parse(location, from.href)
  if (to === null) throw new Error('redirect to an invalid URL')
  return to
}

async function unsuccessful(
  url: URL,
  response: IncomingMessage,
  headers: Record<string, string>,
): Promise<GetError> {
  const returned = `GET ${url.href} returned ${response.statusCode}`
  // Whoever got a credential may say it again.
  const sent = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
  if (sent) return new GetError(returned)
  const { bytes } = await readBytes(response, EXCERPT_CHARACTERS * BYTES_PER_CHARACTER)
  return new GetError(`${returned}: ${excerpt(bytes.toString(), EXCERPT_CHARACTERS)}`)
}

async function readBody(response: IncomingMessage): Promise<string> {
  const encoding = response.headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() !== 'identity')
    throw new Error(`content-encoding "${encoding}" is refused`)
  const { bytes, whole } = await readBytes(response, BODY_BYTES_MAX)
  if (!whole) throw new Error(`response body exceeds ${BODY_BYTES_MAX} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new Error('response body is not UTF-8')
  }
}

/** Leaving the loop destroys the response, and its connection with it. */
async function readBytes(response: IncomingMessage, max: number) {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > max) break
  }
  return { bytes: Buffer.concat(chunks), whole: size <= max }
}

function pairs({ rawHeaders }: IncomingMessage): [name: string, value: string][] {
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  return names.map((name, index) => [name.toLowerCase(), rawHeaders[2 * index + 1] ?? ''])
}

/** An error whose text is finished. */
class GetError extends Error {}

function failed(url: string, why: string): GetError {
  const shown = url.replace(/^([^/\\?#@]*:)[/\\]*[^/\\?#]*@/, '$1//')
  return new GetError(`Get "${excerpt(shown, URL_CHARACTERS)}": ${why}`)
}

function redirectRefused(from: URL, to: URL): GetError {
  const named = to.host !== '' && to.host !== from.host
  const where = named ? to.host : `${to.protocol}//${to.host}`
  return failed(from.href, `redirect to another host refused: ${where}`)
}

function late({ reason }: AbortSignal, response: IncomingMessage | undefined): string {
  if (!(reason instanceof DOMException && reason.name === 'TimeoutError')) return 'stopped'
  const why = response
    ? 'Client.Timeout or context cancellation while reading body'
    : 'Client.Timeout exceeded while awaiting headers'
  return `context deadline exceeded (${why})`
}

function says(thrown: unknown): string {
  // Several addresses were tried: the error of each.
  if (thrown instanceof AggregateError) return thrown.errors.map(says).join('; ')
  return excerpt(thrown instanceof Error ? thrown.message : String(thrown), ERROR_CHARACTERS)
}

function excerpt(text: string, characters: number): string {
  const shown = text.slice(0, characters).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
  return text.length > characters ? `${shown}…` : shown
}
