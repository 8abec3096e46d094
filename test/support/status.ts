/** What a gate's status page is made of, in tests: a gate on which all is well, and one with every trouble. */
import type { RefusalCount } from '../../src/telemetry/refusals_kept.ts'
import type { Status } from '../../src/telemetry/status.ts'

export const NOW_MS = Date.UTC(2026, 10, 23, 8, 40, 12)
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** So many each minute, the last one being this minute. */
export function perMinute(...last: number[]): number[] {
  return [...new Array<number>(60 - last.length).fill(0), ...last]
}

export function refused(failure: string, ...last: number[]): RefusalCount {
  const minutes = perMinute(...last)
  return { failure, count: minutes.reduce((sum, each) => sum + each, 0), perMinute: minutes }
}

/** Made up, and the same each time. */
function wave(height: number): number[] {
  return Array.from({ length: 60 }, (_, at) =>
    Math.round(height * (1 + Math.sin(at / 7)) + (at % 5)),
  )
}

export function calm(changes: Partial<Status> = {}): Status {
  return {
    atMs: NOW_MS,
    version: '0.1.0',
    runtime: 'Node.js 24.21.0',
    sinceMs: NOW_MS - 3 * DAY_MS,
    notReady: undefined,
    workers: { open: 4, wanted: 4 },
    connections: 214,
    sessions: [
      { cluster: 'main', issuer: 'https://accounts.example.com', count: 182 },
      { cluster: 'main', issuer: '', count: 9 },
      { cluster: 'reports', issuer: '', count: 0 },
    ],
    nodes: [
      { cluster: 'main', node: 'db-1.internal:26257', up: 4, draining: 0, down: 0, sessions: 97 },
      { cluster: 'main', node: 'db-2.internal:26257', up: 4, draining: 0, down: 0, sessions: 94 },
      { cluster: 'reports', node: '/var/run/postgresql', up: 4, draining: 0, down: 0, sessions: 0 },
    ],
    issuers: [
      {
        cluster: 'main',
        issuer: 'https://accounts.example.com',
        from: 'its own address',
        ids: ['2026-11-a', '2026-10-b'],
        fetchedMs: NOW_MS - 4 * MINUTE_MS,
        freshUntilMs: NOW_MS + 56 * MINUTE_MS,
        lastFetchMs: NOW_MS - 4 * MINUTE_MS,
        lastTookMs: 84,
        lastError: undefined,
      },
      {
        cluster: 'reports',
        issuer: 'https://ci.example.com',
        from: 'the configuration',
        ids: ['ci'],
      },
    ],
    certificates: [
      {
        key: 'listeners[0].tls.cert_file',
        file: 'server.crt',
        subject: 'gate.example.com',
        endsMs: NOW_MS + 61 * DAY_MS,
      },
      {
        key: 'clusters.main.certificate.ca_cert',
        file: 'ca/trusted.crt',
        subject: 'Postern CA',
        endsMs: NOW_MS + 800 * DAY_MS,
      },
    ],
    signIns: {
      count: 1_834,
      perMinute: wave(25),
      meanMs: 38.2,
      meanParts: { client: 21.4, issuer: 0.2, node: 12.9, gate: 3.7 },
    },
    refusals: [refused('invalid_token', 1, 0, 2, 0, 0), refused('invalid_principal', 1)],
    evidence: { unwrittenMs: undefined, unkept: [] },
    shared: {
      number: '17',
      ageMs: 2_300,
      maxAgeMs: 60_000,
      revocations: 3,
      entries: 12,
      settings: 0,
    },
    ...changes,
  }
}

export function troubled(changes: Partial<Status> = {}): Status {
  const well = calm()
  const [first] = well.nodes
  return {
    ...well,
    workers: { open: 3, wanted: 4 },
    nodes: [
      ...well.nodes,
      {
        ...first,
        cluster: 'main',
        node: 'db-3.internal:26257',
        up: 2,
        draining: 0,
        down: 2,
        sessions: 4,
      },
      {
        ...first,
        cluster: 'main',
        node: 'db-4.internal:26257',
        up: 0,
        draining: 4,
        down: 0,
        sessions: 41,
      },
      {
        ...first,
        cluster: 'away',
        node: '[2001:db8::7]:5432',
        up: 0,
        draining: 0,
        down: 4,
        sessions: 0,
      },
    ],
    issuers: [
      ...well.issuers,
      {
        cluster: 'main',
        issuer:
          'https://login.example.com/realms/a-realm-with-a-rather-long-name/protocol/openid-connect/2f1c6f0a-5f7e-4a39-8f1e-2f4f6b0c1d2e',
        from: 'its own address',
        ids: Array.from(
          { length: 9 },
          (_, at) => `Zx0Yq${at}vJm3rWqk8Hq2sQ1bT7uPw0aLkDc9eRfVgBh5nMiOo${at}`,
        ),
        fetchedMs: NOW_MS - 26 * HOUR_MS,
        freshUntilMs: NOW_MS - 2 * HOUR_MS,
        lastFetchMs: NOW_MS - 12_000,
        lastTookMs: 5_000,
        lastError:
          'GET https://login.example.com/realms/a-realm-with-a-rather-long-name/protocol/openid-connect/certs: Client.Timeout exceeded after 5 s',
      },
      {
        cluster: 'main',
        issuer: 'https://briefly.example.com',
        from: 'its own address',
        ids: ['k1'],
        fetchedMs: NOW_MS - 20 * MINUTE_MS,
        freshUntilMs: NOW_MS + 9 * MINUTE_MS,
        lastFetchMs: NOW_MS - MINUTE_MS,
        lastTookMs: 310,
        lastError: 'GET https://briefly.example.com/jwks returned 503',
      },
      { cluster: 'away', issuer: 'https://nobody.example.com', from: 'nowhere', ids: [] },
    ],
    certificates: [
      {
        key: 'clusters.main.nodes[0].tls.ca_file',
        file: 'node-ca.crt',
        subject: 'Nodes of yesterday',
        endsMs: NOW_MS - DAY_MS,
      },
      {
        key: 'peers.ca_cert',
        file: 'gates-ca/trusted.crt',
        subject: 'Gates CA',
        endsMs: NOW_MS + 19 * DAY_MS,
      },
      ...well.certificates,
    ],
    refusals: [
      { failure: 'invalid_token', count: 3_120, perMinute: wave(50) },
      refused('node_unreachable', 3, 9, 14, 6, 2),
      refused('jwks_unavailable', 1, 1),
      refused('token_required', 2),
    ],
    evidence: {
      unwrittenMs: NOW_MS - 2 * MINUTE_MS,
      unkept: [{ place: 'audit.anchor', sinceMs: NOW_MS - 90 * MINUTE_MS }],
    },
    shared: {
      number: '18',
      ageMs: 74_000,
      maxAgeMs: 60_000,
      revocations: 1,
      entries: 0,
      settings: 2,
    },
    ...changes,
  }
}
