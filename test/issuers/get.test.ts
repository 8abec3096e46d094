/** Fetching from issuers that mean well, from those that don't, and from places that are none. */
import { EventEmitter, once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type LookupFunction, type Socket } from 'node:net'
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
} from 'node:tls'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { issue, localCertificates, makeCa } from '../../src/dev/certificates.ts'
import { type Answer, type GetSettings, openGet } from '../../src/issuers/get.ts'
import { type IssuerServer, NEVER, openIssuerServer, type Page } from '../support/issuer_server.ts'

const SHORT_MS = 250
/** Long enough for the handshake, so that the first byte has come. */
const DRIP_MS = 1_500
/** Where the names of these tests lead to; every other one leads to 127.0.0.1. */
const ADDRESSES: Record<string, string[]> = {
  'rebound.test': ['169.254.169.254'],
  'half.test': ['127.0.0.1', '169.254.169.254'],
  'mapped.test': ['::ffff:a9fe:a9fe'],
  'six.test': ['fd00:ec2::254'],
  'private.test': ['10.0.0.1'],
}

let server: IssuerServer
const closing: (() => unknown)[] = []

beforeAll(async () => {
  server = await openIssuerServer({ names: ['issuer.test'] })
})
afterAll(() => server.close())

beforeEach(() => {
  Object.assign(server.discovery, { status: 200, headers: {}, body: { issuer: 'me' } })
  delete server.discovery.answer
  delete server.discovery.hang
  server.requests.length = 0
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function settings(over: Partial<GetSettings> = {}): GetSettings {
  return {
    timeoutMs: 10_000,
    caPem: server.caPem,
    onlyThisCa: false,
    plaintextLoopback: false,
    proxyEnv: {},
    ...over,
  }
}

const lookup: LookupFunction = (host, { all }, done) => {
  const addresses = (ADDRESSES[host] ?? ['127.0.0.1']).map((address) => ({
    address,
    family: address.includes(':') ? 6 : 4,
  }))
  if (all) done(null, addresses)
  else done(null, addresses[0]?.address ?? '', addresses[0]?.family)
}

function get(
  url = discoveryUrl(),
  over: Partial<GetSettings> = {},
  headers: Record<string, string> = {},
): Promise<Answer> {
  return openGet(settings(over), () => 0, NEVER, lookup)(url, headers)
}

/** Why not, or the body. */
async function told(...args: Parameters<typeof get>): Promise<string> {
  return await get(...args).then(
    ({ body }) => body,
    (thrown: unknown) => (thrown instanceof Error ? thrown.message : 'no Error'),
  )
}

function discoveryUrl(host = 'localhost'): string {
  return `https://${host}:${server.port}/.well-known/openid-configuration`
}

/** What the discovery page does instead of answering. */
function answer(write: (response: ServerResponse) => void): void {
  server.discovery.answer = (_request, response) => write(response)
}

/** A TCP server that does to every connection what it is told. */
async function openTcp(take: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const tcp = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    take(socket)
  }).listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  closing.push(() => {
    tcp.close()
    for (const socket of sockets) socket.destroy()
  })
  return (tcp.address() as AddressInfo).port
}

async function openServer(wanted: Parameters<typeof openIssuerServer>[0]): Promise<IssuerServer> {
  const opened = await openIssuerServer({ ca: server.ca, ...wanted })
  closing.push(() => opened.close())
  return opened
}

describe('an answer', () => {
  it('has the status, the body, all headers, and both times', async () => {
    server.discovery.headers = { 'Cache-Control': ['max-age=1', 'public'], Age: '3' }
    let clock = 1000
    const answered = await openGet(settings(), () => clock++, NEVER, lookup)(discoveryUrl())
    expect(answered).toMatchObject({
      url: discoveryUrl(),
      status: 200,
      body: '{"issuer":"me"}',
      requestedMs: 1000,
      receivedMs: 1001,
    })
    expect(answered.headers.slice(0, 3)).toEqual([
      ['cache-control', 'max-age=1'],
      ['cache-control', 'public'],
      ['age', '3'],
    ])
  })

  it('was asked for with the headers that are wanted, uncompressed, on a connection of its own', async () => {
    await get(discoveryUrl(), {}, { 'cache-control': 'no-cache', authorization: 'Bearer x' })
    expect(server.requests).toMatchObject([
      {
        headers: {
          host: `localhost:${server.port}`,
          accept: 'application/json',
          'accept-encoding': 'identity',
          connection: 'close',
          'cache-control': 'no-cache',
          authorization: 'Bearer x',
        },
      },
    ])
  })

  it('may have a body of 1 MiB', async () => {
    Object.assign(server.discovery, { body: 'x'.repeat(1_048_576) })
    expect((await get()).body.length).toBe(1_048_576)
  })

  it('comes from an address as well as from a name', async () => {
    expect(await told(discoveryUrl('127.0.0.1'))).toBe('{"issuer":"me"}')
    expect(await told(discoveryUrl('issuer.test'))).toBe('{"issuer":"me"}')
  })
})

describe('a bad answer', () => {
  const html = '<html>\r\n<b>Sign in</b>\u001b[31m\u202e</html>'
  const BAD: [what: string, page: Partial<Page>, says: string][] = [
    ['a failure', { status: 500, body: 'oops' }, 'GET URL returned 500: oops'],
    ['a failure without a word', { status: 503, body: '' }, 'GET URL returned 503: '],
    [
      'a failure in HTML',
      { status: 502, body: html },
      'GET URL returned 502: <html>\uFFFD\uFFFD<b>Sign in</b>\uFFFD[31m\uFFFD</html>',
    ],
    [
      'a long failure',
      { status: 404, body: 'x'.repeat(5_000_000) },
      `GET URL returned 404: ${'x'.repeat(200)}…`,
    ],
    ['not modified', { status: 304, body: '' }, 'GET URL returned 304: '],
    ['a redirect to nowhere', { status: 302, body: 'hm' }, 'GET URL returned 302: hm'],
    [
      'too large a body',
      { body: 'x'.repeat(1_048_577) },
      'Get "URL": response body exceeds 1048576 bytes',
    ],
    [
      'a compressed body',
      { headers: { 'content-encoding': 'gzip' }, body: gzipSync('{}') },
      'Get "URL": content-encoding "gzip" is refused',
    ],
    [
      'a body that is not UTF-8',
      { body: Buffer.from([0x7b, 0xff, 0x7d]) },
      'Get "URL": response body is not UTF-8',
    ],
    ['a body that breaks off', { answer: (_, response) => cutOff(response) }, 'Get "URL": aborted'],
    ['no answer at all', { answer: ({ socket }) => socket.destroy() }, 'Get "URL": socket hang up'],
    [
      'too many headers',
      { headers: Object.fromEntries([...Array(100)].map((_, n) => [`x-${n}`, 'y'.repeat(500)])) },
      'Get "URL": Parse Error: Header overflow',
    ],
    [
      'something that is not HTTP',
      { answer: ({ socket }) => socket.end('SSH-2.0-OpenSSH_9.2\r\n') },
      'Get "URL": Parse Error: Expected HTTP/, RTSP/ or ICE/',
    ],
  ]
  it.each(BAD)('%s', async (_, page, says) => {
    Object.assign(server.discovery, page)
    expect(await told()).toBe(says.replace('URL', discoveryUrl()))
  })

  it('of 2 GB is left as soon as it is too much', async () => {
    const ended = new EventEmitter()
    answer((response) => {
      response.writeHead(200, { 'content-length': 2 ** 31 })
      const block = Buffer.alloc(65_536, ' ')
      const write = (): void => {
        while (!response.destroyed && response.write(block));
      }
      response
        .on('drain', write)
        .on('close', () => ended.emit('closed', response.socket?.bytesWritten))
      write()
    })
    const closed = once(ended, 'closed')
    expect(await told()).toBe(`Get "${discoveryUrl()}": response body exceeds 1048576 bytes`)
    const [bytes] = (await closed) as [number | undefined]
    expect(bytes ?? 0).toBeLessThan(64 * 1_048_576)
  })
})

describe('a redirect', () => {
  const here = () => `https://localhost:${server.port}`
  const to = (location: string, status = 302): Partial<Page> => ({ status, headers: { location } })

  it.each([301, 302, 303, 307, 308])(
    'of status %s is followed on the same host',
    async (status) => {
      Object.assign(server.discovery, to('/jwks?v=2', status))
      server.pages.set('/jwks?v=2', { status: 200, headers: {}, body: 'found' })
      const answered = await get(discoveryUrl(), {}, { authorization: 'Bearer x' })
      expect(answered).toMatchObject({ url: `${here()}/jwks?v=2`, body: 'found' })
      expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([
        'Bearer x',
        'Bearer x',
      ])
    },
  )

  it.each([
    ['another host', () => 'https://other.test/jwks', 'other.test'],
    ['another port', () => 'https://localhost:1/jwks', 'localhost:1'],
    ['an address of the same host', () => `https://127.0.0.1:${server.port}/`, '127.0.0.1:PORT'],
    ['plain http', () => `http://localhost:${server.port}/jwks`, 'http://localhost:PORT'],
    ['another host without a scheme', () => '//other.test/jwks', 'other.test'],
    ['the metadata', () => 'http://169.254.169.254/latest/meta-data', '169.254.169.254'],
    ['the metadata by name', () => 'http://metadata.google.internal/', 'metadata.google.internal'],
    ['a file', () => 'file:///etc/passwd', 'file://'],
    ['a host behind a password', () => 'https://a:secret@other.test/', 'other.test'],
  ])('to %s is refused', async (_, location, where) => {
    Object.assign(server.discovery, to(location()))
    const says = `redirect to another host refused: ${where.replace('PORT', String(server.port))}`
    expect(await told(discoveryUrl(), { plaintextLoopback: true })).toBe(
      `Get "${discoveryUrl()}": ${says}`,
    )
    expect(server.requests.length).toBe(1)
  })

  it('to itself ends', async () => {
    Object.assign(server.discovery, to(discoveryUrl()))
    expect(await told()).toBe(`Get "${discoveryUrl()}": stopped after 3 redirects`)
    expect(server.requests.length).toBe(4)
  })

  it('to what is no URL is an error', async () => {
    Object.assign(server.discovery, to('https://['))
    expect(await told()).toBe(`Get "${discoveryUrl()}": redirect to an invalid URL`)
  })

  it('leads to a name that is resolved and judged again', async () => {
    Object.assign(server.discovery, to('/jwks'))
    const hosts = ['127.0.0.1', '169.254.169.254']
    const rebinding: LookupFunction = (_host, _options, done) =>
      done(null, [{ address: hosts.shift() ?? '', family: 4 }])
    const fetched = openGet(settings(), () => 0, NEVER, rebinding)(discoveryUrl())
    await expect(fetched).rejects.toThrow('localhost is at 169.254.169.254: refused address')
  })
})

describe('a URL', () => {
  it.each([
    ['issuer1/.well-known/openid-configuration', 'unsupported protocol scheme ""'],
    ['', 'unsupported protocol scheme ""'],
    ['localhost:8080/x', 'unsupported protocol scheme "localhost"'],
    ['ftp://issuer.test/', 'unsupported protocol scheme "ftp"'],
    ['file:///etc/passwd', 'unsupported protocol scheme "file"'],
    ['data:,x', 'unsupported protocol scheme "data"'],
    ['https://', 'invalid URL'],
    ['http://issuer.test/', 'http is refused: use https'],
    ['http://127.0.0.1/', 'http is refused: use https'],
    ['https://169.254.169.254/latest', 'refused address'],
    ['https://100.100.100.200/', 'refused address'],
    ['https://168.63.129.16/', 'refused address'],
    ['https://192.0.0.192/', 'refused address'],
    ['https://0.0.0.0/', 'refused address'],
    ['https://[fe80::1]/', 'refused address'],
    ['https://[fd00:ec2::254]/', 'refused address'],
    ['https://[::ffff:a9fe:a9fe]/', 'refused address'],
    ['https://metadata.google.internal/', 'refused address'],
  ])('%s is refused', async (url, why) => {
    expect(await told(url)).toBe(`Get "${url}": ${why}`)
  })

  it.each([
    'https://2852039166/',
    'https://0xa9fea9fe/',
    'https://0251.0376.0251.0376/',
    'https://169.254.43518/',
    'https://169.254.169.254./',
    'https://①⑥⑨.254.169.254/',
  ])('%s is 169.254.169.254 in another spelling', async (url) => {
    expect(await told(url)).toBe('Get "https://169.254.169.254/": refused address')
  })

  it.each([
    ['rebound.test', '169.254.169.254'],
    ['half.test', '169.254.169.254'],
    ['mapped.test', '::ffff:a9fe:a9fe'],
    ['six.test', 'fd00:ec2::254'],
  ])('of the name %s is refused for its address', async (host, address) => {
    expect(await told(`https://${host}/`)).toBe(
      `Get "https://${host}/": ${host} is at ${address}: refused address`,
    )
  })

  it('may be plain http on this machine, if that is wanted', async () => {
    const plain = await openServer({ plaintext: true })
    const wanted = { plaintextLoopback: true }
    const body = JSON.stringify(plain.discovery.body)
    for (const host of ['localhost', '127.0.0.1'])
      expect(
        await told(`http://${host}:${plain.port}/.well-known/openid-configuration`, wanted),
      ).toBe(body)
    expect(await told('http://private.test/', wanted)).toBe(
      'Get "http://private.test/": private.test is at 10.0.0.1: refused address',
    )
    expect(await told('http://10.0.0.1/', wanted)).toBe(
      'Get "http://10.0.0.1/": http is refused: use https',
    )
  })

  it('where nobody listens is an error', async () => {
    const port = await openTcp(() => {})
    for (const close of closing.splice(0)) close()
    expect(await told(`https://localhost:${port}/`)).toBe(
      `Get "https://localhost:${port}/": connect ECONNREFUSED 127.0.0.1:${port}`,
    )
  })

  it('whose name nobody knows is an error', async () => {
    const unknown: LookupFunction = (host, _options, done) =>
      done(new Error(`getaddrinfo ENOTFOUND ${host}`), [])
    const fetched = openGet(settings(), () => 0, NEVER, unknown)('https://nobody.test/')
    await expect(fetched).rejects.toThrow(
      'Get "https://nobody.test/": getaddrinfo ENOTFOUND nobody.test',
    )
  })
})

describe('a certificate', () => {
  const NODE_SAYS = {
    chain: 'unable to verify the first certificate',
    name: "Hostname/IP does not match certificate's altnames",
    expired: 'certificate has expired',
  }

  it.each([
    ['of a CA that nobody told of', { caPem: undefined }, NODE_SAYS.chain],
    ['of another CA than the only one', { caPem: 'other', onlyThisCa: true }, NODE_SAYS.chain],
    ['without any CA', { caPem: undefined, onlyThisCa: true }, NODE_SAYS.chain],
  ])('%s is refused', async (_, over, why) => {
    const caPem = over.caPem && (await makeCa('Another CA')).certPem
    expect(await told(discoveryUrl(), { ...over, caPem })).toContain(why)
    expect(server.requests).toEqual([])
  })

  it.each(['expired', 'otherName'] as const)('that is %s is refused', async (which) => {
    const certificate = (await localCertificates(server.ca))[which]
    const bad = await openServer({ certificate })
    expect(await told(`${bad.issuer}/`)).toContain(
      which === 'expired' ? NODE_SAYS.expired : NODE_SAYS.name,
    )
    expect(bad.requests).toEqual([])
  })

  it('is judged whatever the environment says', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    closing.push(() => delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'])
    expect(await told(discoveryUrl(), { caPem: undefined })).toContain(NODE_SAYS.chain)
    expect(await told(discoveryUrl('other.test'))).toContain(NODE_SAYS.name)
  })

  it('of a CA of the machine is believed beside the own one, and not if that is the only one', async () => {
    const before = getCACertificates('default')
    closing.push(() => setDefaultCACertificates(before))
    setDefaultCACertificates([server.caPem])
    const caPem = (await makeCa('Another CA')).certPem
    expect(await told(discoveryUrl(), { caPem: undefined })).toBe('{"issuer":"me"}')
    expect(await told(discoveryUrl(), { caPem })).toBe('{"issuer":"me"}')
    expect(await told(discoveryUrl(), { caPem, onlyThisCa: true })).toContain(NODE_SAYS.chain)
  })

  it('is asked for with TLS 1.2 at least', async () => {
    const { certPem, keyPem } = await issue(server.ca, { cn: 'localhost', sans: ['localhost'] })
    const old = createTlsServer({
      cert: certPem,
      key: keyPem,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    old.on('tlsClientError', () => undefined).listen(0, '127.0.0.1')
    await once(old, 'listening')
    closing.push(() => old.close())
    const { port } = old.address() as AddressInfo
    expect(await told(`https://localhost:${port}/`)).toMatch(/alert protocol version/)
  })

  it('is missing where http is spoken', async () => {
    const plain = await openServer({ plaintext: true })
    expect(await told(`https://localhost:${plain.port}/`)).toMatch(
      /wrong version number|packet length/,
    )
  })
})

describe('the deadline', () => {
  const AWAITING = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
  const READING =
    'context deadline exceeded (Client.Timeout or context cancellation while reading body)'
  const soon = { timeoutMs: SHORT_MS }

  it('is for an issuer that takes the request and hangs', async () => {
    server.discovery.hang = true
    expect(await told(discoveryUrl(), soon)).toBe(`Get "${discoveryUrl()}": ${AWAITING}`)
  })

  it.each([
    ['headers', AWAITING],
    ['body', READING],
    ['failure', READING],
  ])('is for a %s that comes byte by byte', async (what, why) => {
    const ended = new EventEmitter()
    answer((response) => {
      const { socket } = response
      if (what === 'body') response.write('{')
      else if (what === 'failure') response.writeHead(500).write('{')
      else socket?.write('HTTP/1.1 200 OK\r\n')
      const drip = setInterval(() => {
        if (what === 'headers') socket?.write('x: y\r\n')
        else response.write(' ')
      }, DRIP_MS / 20)
      response.on('close', () => {
        clearInterval(drip)
        ended.emit('closed')
      })
    })
    const closed = once(ended, 'closed')
    expect(await told(discoveryUrl(), { timeoutMs: DRIP_MS })).toBe(
      `Get "${discoveryUrl()}": ${why}`,
    )
    await closed
  })

  it('is for a TLS handshake that nobody answers', async () => {
    const gone = new EventEmitter()
    const port = await openTcp((socket) => {
      socket.on('close', () => gone.emit('closed')).resume()
    })
    const closed = once(gone, 'closed')
    const url = `https://localhost:${port}/`
    expect(await told(url, soon)).toBe(`Get "${url}": ${AWAITING}`)
    await closed
  })

  it('is for a DNS that does not answer', async () => {
    const fetched = openGet(
      settings(soon),
      () => 0,
      NEVER,
      () => {},
    )(discoveryUrl())
    await expect(fetched).rejects.toThrow(AWAITING)
  })

  it('is one for all redirects', async () => {
    Object.assign(server.discovery, {
      status: 302,
      headers: { location: discoveryUrl() },
      delayMs: SHORT_MS * 0.4,
    })
    closing.push(() => delete server.discovery.delayMs)
    expect(await told(discoveryUrl(), soon)).toBe(`Get "${discoveryUrl()}": ${AWAITING}`)
  })

  it('does not hold up who comes after', async () => {
    server.discovery.hang = true
    const hanging = told(discoveryUrl(), soon)
    expect(await told(`https://localhost:${server.port}/jwks`)).toBe('{"keys":[]}')
    expect(await hanging).toContain(AWAITING)
  })
})

describe('an error keeps a secret', () => {
  const credential = { authorization: 'Bearer s3cr3t' }

  it('that the issuer says again', async () => {
    Object.assign(server.discovery, { status: 401, body: 'no: Bearer s3cr3t' })
    for (const headers of [credential, { Authorization: 'Bearer s3cr3t' }])
      expect(await told(discoveryUrl(), {}, headers)).toBe(`GET ${discoveryUrl()} returned 401`)
  })

  it('that can not be sent', async () => {
    const says = await told(discoveryUrl(), {}, { authorization: 'Bearer s3cr3t\n' })
    expect(says).toBe(
      `Get "${discoveryUrl()}": Invalid character in header content ["authorization"]`,
    )
  })

  it.each([
    ['https://ann:s3cr3t@issuer.test/x', 'https://issuer.test/x'],
    ['https://s3cr3t@issuer.test/x', 'https://issuer.test/x'],
    ['https:ann:s3cr3t@issuer.test/x', 'https://issuer.test/x'],
  ])('that stands in %s', async (url, shown) => {
    expect(await told(url)).toBe(`Get "${shown}": a user or a password in a URL is refused`)
  })

  it.each([
    [
      'ftp://ann:s3cr3t@issuer.test/x',
      'Get "ftp://issuer.test/x": unsupported protocol scheme "ftp"',
    ],
    ['https://ann:s3cr3t@issuer.test:99999/', 'Get "https://issuer.test:99999/": invalid URL'],
    ['https:\\\\ann:s3cr3t@[/', 'Get "https://[/": invalid URL'],
  ])('that stands in %s, which is no URL for us', async (url, says) => {
    expect(await told(url)).toBe(says)
  })

  it('and no control characters', async () => {
    expect(await told('issuer1\n{"level":"info"}')).toBe(
      'Get "issuer1\uFFFD{"level":"info"}": unsupported protocol scheme ""',
    )
  })
})

/** Says that more will come than it sends. */
function cutOff(response: ServerResponse): void {
  response.writeHead(200, { 'content-length': 100 })
  response.write('{', () => response.socket?.destroy())
}
