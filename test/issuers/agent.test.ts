/** Fetching through a proxy, and past it. */
import { EventEmitter, once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { askedOnce } from '../../src/issuers/agent.ts'
import { openGet } from '../../src/issuers/get.ts'
import { type ConnectProxy, openConnectProxy } from '../support/connect_proxy.ts'
import { type IssuerServer, NEVER, openIssuerServer } from '../support/issuer_server.ts'

const ISSUER = 'https://dev-1234.okta.com/oauth2/default'
const DOCUMENT = `${ISSUER}/.well-known/openid-configuration`
const KEYS = `${ISSUER}/jwks`

let server: IssuerServer
let proxy: ConnectProxy
const closing: (() => unknown)[] = []

beforeAll(async () => {
  server = await openIssuerServer({ issuer: ISSUER })
  proxy = await openConnectProxy({
    'dev-1234.okta.com:443': server.port,
    'another.okta.com:443': server.port,
  })
})
afterAll(() => Promise.all([server.close(), proxy.close()]))
beforeEach(() => {
  proxy.asked.length = 0
})
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

interface Way {
  HTTPS_PROXY?: string
  NO_PROXY?: string
  timeoutMs?: number
  caPem?: string
}

/** Why not, or the body. There is no DNS: whatever is reached by its name was reached by the proxy. */
async function told(url: string, { timeoutMs = 10_000, ...way }: Way = {}): Promise<string> {
  const { caPem = server.caPem, ...proxyEnv } = { HTTPS_PROXY: proxy.url, ...way }
  const settings = { timeoutMs, caPem, onlyThisCa: true, plaintextLoopback: true, proxyEnv }
  const get = openGet(
    settings,
    () => 0,
    NEVER,
    (host, _options, done) => done(new Error(`nobody knows ${host}`), []),
  )
  return await get(url).then(
    ({ body }) => body,
    (thrown: unknown) => (thrown instanceof Error ? thrown.message : 'no Error'),
  )
}

/** A proxy that does with every connection what it is told, and says when one was closed. */
async function openOddProxy(take: (socket: Socket) => void) {
  const gone = new EventEmitter()
  const tcp = createServer((socket) => {
    socket.on('error', () => socket.destroy()).on('close', () => gone.emit('closed'))
    socket.resume()
    take(socket)
  }).listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  closing.push(() => tcp.close())
  const { port } = tcp.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, closed: once(gone, 'closed') }
}

describe('a proxy', () => {
  it('leads to an issuer, whose name it resolves', async () => {
    expect(JSON.parse(await told(DOCUMENT))).toMatchObject({ issuer: ISSUER })
    expect(proxy.asked).toMatchObject([
      { target: 'dev-1234.okta.com:443', headers: { host: 'dev-1234.okta.com:443' } },
    ])
  })

  it('may be named without its scheme', async () => {
    expect(await told(KEYS, { HTTPS_PROXY: proxy.url.replace('http://', '') })).toBe('{"keys":[]}')
  })

  it('gets the name and the password that are in its URL, and the issuer does not', async () => {
    server.requests.length = 0
    const HTTPS_PROXY = proxy.url.replace('//', '//ann:s3cr%20t@')
    expect(await told(KEYS, { HTTPS_PROXY })).toBe('{"keys":[]}')
    const basic = `Basic ${Buffer.from('ann:s3cr t').toString('base64')}`
    expect(proxy.asked[0]?.headers['proxy-authorization']).toBe(basic)
    expect(JSON.stringify(server.requests)).not.toContain(basic)
  })

  it.each(['dev-1234.okta.com', '.okta.com', '*.okta.com', 'a.test, DEV-1234.okta.com', '*'])(
    'is passed by for NO_PROXY=%s',
    async (NO_PROXY) => {
      const says = `Get "${KEYS}": nobody knows dev-1234.okta.com`
      expect(await told(KEYS, { NO_PROXY })).toBe(says)
      expect(proxy.asked).toEqual([])
    },
  )

  it.each(['okta', 'other.okta.com', '.test'])('is not for NO_PROXY=%s', async (NO_PROXY) => {
    expect(await told(KEYS, { NO_PROXY })).toBe('{"keys":[]}')
  })

  it('changes nothing about certificates', async () => {
    expect(await told('https://another.okta.com/')).toContain(
      "Hostname/IP does not match certificate's altnames",
    )
    expect(await told(KEYS, { caPem: '' })).toContain('unable to verify the first certificate')
  })

  it('is not asked for what is refused', async () => {
    for (const host of ['169.254.169.254', '[fd00:ec2::254]', 'metadata.google.internal'])
      expect(await told(`https://${host}/`)).toBe(`Get "https://${host}/": refused address`)
    expect(proxy.asked).toEqual([])
  })

  it('is not asked for plain http', async () => {
    expect(await told('http://localhost:1/')).toBe(
      'Get "http://localhost:1/": nobody knows localhost',
    )
    expect(proxy.asked).toEqual([])
  })
})

describe('a proxy that does not serve', () => {
  it('says so itself', async () => {
    const { url } = await openOddProxy((socket) => {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\u001b\r\n\r\n')
    })
    const HTTPS_PROXY = url.replace('//', '//ann:s3cr3t@')
    expect(await told(KEYS, { HTTPS_PROXY })).toBe(
      `Get "${KEYS}": Failed to establish tunnel to dev-1234.okta.com:443 via ${url}/: HTTP/1.1 407 Proxy Authentication Required\uFFFD`,
    )
  })

  it('hangs up', async () => {
    const { url } = await openOddProxy((socket) => socket.end())
    expect(await told(KEYS, { HTTPS_PROXY: url })).toBe(
      `Get "${KEYS}": Connection to establish proxy tunnel ended unexpectedly`,
    )
  })

  it.each([
    ['says nothing', ''],
    ['never ends its headers', 'HTTP/1.1 200 OK\r\nx: y\r\n'],
    ['leads to nobody', 'HTTP/1.1 200 OK\r\n\r\n'],
  ])('%s until the deadline, and then is left', async (_, says) => {
    const { url, closed } = await openOddProxy((socket) => socket.write(says))
    expect(await told(KEYS, { HTTPS_PROXY: url, timeoutMs: 250 })).toBe(
      `Get "${KEYS}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
    )
    await closed
  })

  it('is not there', async () => {
    const { url } = await openOddProxy(() => {})
    for (const close of closing.splice(0)) close()
    expect(await told(KEYS, { HTTPS_PROXY: url })).toBe(
      `Get "${KEYS}": connect ECONNREFUSED ${url.replace('http://', '')}`,
    )
  })

  it.each(['socks5://ann:s3cr3t@proxy.test', 'http://ann:s3cr3t@[', 'http://'])(
    'is an error where %s is no URL of one',
    async (HTTPS_PROXY) => {
      const says = `Get "${KEYS}": HTTPS_PROXY is no URL of an http or https proxy`
      expect(await told(KEYS, { HTTPS_PROXY })).toBe(says)
    },
  )
})

describe('the DNS', () => {
  it('is asked once by all who wait for the same name, and again by those who come later', () => {
    const questions: string[] = []
    const answers: (() => void)[] = []
    const lookup = askedOnce((host, _options, done) => {
      questions.push(host)
      answers.push(() => done(null, '192.0.2.1', 4))
    })
    const heard: string[] = []
    const ask = (host: string, who: string) =>
      lookup(host, {}, (_error, address) => heard.push(`${who} ${address}`))
    ask('dead.test', 'ann')
    ask('dead.test', 'bob')
    ask('other.test', 'carl')
    expect(questions).toEqual(['dead.test', 'other.test'])
    for (const answer of answers) answer()
    expect(heard).toEqual(['ann 192.0.2.1', 'bob 192.0.2.1', 'carl 192.0.2.1'])
    ask('dead.test', 'dora')
    expect(questions).toEqual(['dead.test', 'other.test', 'dead.test'])
  })
})
