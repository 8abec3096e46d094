/**
 * One connection to an issuer: whom it is believed by, which proxy it goes through, and which addresses
 * it may lead to. It is made for one request, so that nothing is left open.
 * Rule: the address that was judged is the one that is connected to. What a proxy resolves, it answers
 * for itself: of that, only the URL's own host can be judged.
 */
import { Agent as HttpAgent } from 'node:http'
import { type AgentOptions, Agent as HttpsAgent } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  checkServerIdentity,
  createSecureContext,
  getCACertificates,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls'
import { isLoopback, isRefusedAddress } from './addresses.ts'

export interface Trust {
  /** Believed beside node's own certificates, or in their place. */
  caPem: string | undefined
  onlyThisCa: boolean
}

/** As the environment has them; node's http documentation says what NO_PROXY may hold. */
export interface ProxyEnv {
  HTTPS_PROXY?: string | undefined
  NO_PROXY?: string | undefined
}

export interface Connecting {
  secureContext: SecureContext
  proxyEnv: ProxyEnv
  /** The DNS. */
  lookup: LookupFunction
}

export interface Connection {
  agent: HttpAgent
  /** Ends it at any moment: while a proxy keeps us waiting, the request itself couldn't. */
  hangUp(): void
}

export function secureContextOf({ caPem, onlyThisCa }: Trust): SecureContext {
  const minVersion = 'TLSv1.2'
  if (onlyThisCa) return createSecureContext({ ca: caPem === undefined ? [] : [caPem], minVersion })
  if (caPem === undefined) return createSecureContext({ minVersion })
  return createSecureContext({ ca: [...getCACertificates('default'), caPem], minVersion })
}

/**
 * @param url - http only ever leads to this machine, and through no proxy.
 * @throws Error, if the proxy's setting isn't understood.
 */
export function openConnection(url: URL, connecting: Connecting): Connection {
  const agent =
    url.protocol === 'http:'
      ? new HttpAgent({ lookup: guarded(connecting.lookup, isLoopback), proxyEnv: {} })
      : new HttpsAgent(tlsOptions(hostOf(url), connecting))
  const connect = agent.createConnection.bind(agent)
  let socket: Duplex | null | undefined
  agent.createConnection = (options, done) => {
    socket = connect(options, done)
    return socket
  }
  return { agent, hangUp: () => socket?.destroy() }
}

/** Without the brackets that a URL puts around an IPv6 address. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1')
}

function tlsOptions(host: string, connecting: Connecting): AgentOptions {
  return {
    secureContext: connecting.secureContext,
    // Said aloud: an environment variable must not turn it off.
    rejectUnauthorized: true,
    servername: isIP(host) ? '' : host,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      checkServerIdentity(host, certificate),
    maxCachedSessions: 0,
    lookup: guarded(connecting.lookup, (address) => !isRefusedAddress(address)),
    proxyEnv: parseProxy(connecting.proxyEnv),
  }
}

/** Node leaves out a proxy that it doesn't understand, or says its password. */
function parseProxy({ HTTPS_PROXY = '', NO_PROXY = '' }: ProxyEnv): NodeJS.ProcessEnv {
  if (HTTPS_PROXY === '') return {}
  const proxy = HTTPS_PROXY.includes('://') ? HTTPS_PROXY : `http://${HTTPS_PROXY}`
  const scheme = URL.parse(proxy)?.protocol
  if (scheme !== 'http:' && scheme !== 'https:')
    throw new Error('HTTPS_PROXY is no URL of an http or https proxy')
  return { HTTPS_PROXY: proxy, NO_PROXY }
}

/**
 * A question that the DNS hasn't answered is not asked again. Each takes a thread of Node's few until
 * the system gives up, whatever our deadline is: a dead name must not take them all.
 */
export function askedOnce(lookup: LookupFunction): LookupFunction {
  const waiting = new Map<string, Parameters<LookupFunction>[2][]>()
  return (host, options, done) => {
    const question = JSON.stringify([host, options])
    const others = waiting.get(question)
    if (others !== undefined) return void others.push(done)
    const all = [done]
    waiting.set(question, all)
    lookup(host, options, (...answer) => {
      waiting.delete(question)
      for (const each of all) each(...answer)
    })
  }
}

/** One address that isn't allowed spoils the name: whoever gives it means no good. */
function guarded(lookup: LookupFunction, allowed: (address: string) => boolean): LookupFunction {
  return (host, options, done) => {
    lookup(host, options, (error, found, family) => {
      const addresses = typeof found === 'string' ? [found] : (found ?? []).map((to) => to.address)
      const bad = addresses.find((address) => !allowed(address))
      const refusal = bad === undefined ? null : new Error(`${host} is at ${bad}: refused address`)
      done(error ?? refusal, found, family)
    })
  }
}
