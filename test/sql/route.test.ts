/**
 * Which cluster a client means, where a gate has several: the documented rows (reference 7.8), and what
 * must not get past them.
 */
import { describe, expect, it } from 'vitest'
import { asFailure } from '../../src/failure.ts'
import { route } from '../../src/sql/route.ts'

const CLUSTERS = new Map(
  ['happy-koala-7', 'happy-tiger', 'happy-seal-10'].map((name) => [name, name]),
)

interface Said {
  database?: string
  options?: string
  server?: string
}

function routed({ database, options, server = '' }: Said, clusters = CLUSTERS) {
  const startup = {
    minor: 0,
    user: 'u',
    database,
    options,
    replication: undefined,
    parameters: new Map(),
  }
  try {
    const { cluster, startup: rest } = route(startup, server, clusters)
    return [cluster, rest.database, rest.options]
  } catch (thrown) {
    const { code, message, row } = asFailure(thrown)
    const ours = code === 'cluster_flag' || message !== 'internal error'
    return ours ? `${row.sqlstate} ${message}` : thrown
  }
}

const MISSING = '08C00 missing cluster identifier'
const DIFFERENT = '08C00 multiple different cluster identifiers provided'

describe('the documented rows', () => {
  it.each<[number, string, Said, unknown]>([
    [121, 'nothing', {}, MISSING],
    [
      122,
      'two that differ',
      { database: 'happy-koala-7.defaultdb', options: '--cluster=happy-tiger' },
      DIFFERENT,
    ],
    [
      123,
      'the same twice',
      { database: 'happy-koala-7.defaultdb', options: '--cluster=happy-koala-7' },
      ['happy-koala-7', 'defaultdb', undefined],
    ],
    [124, 'a dot', { database: '.' }, '08C00 invalid database param'],
    [124, 'no database', { database: 'a.' }, '08C00 invalid database param'],
    [124, 'no cluster', { database: '.b' }, '08C00 invalid database param'],
    [124, 'three parts', { database: 'a.b.c' }, '08C00 invalid database param'],
    [
      125,
      'three flags',
      { options: '--cluster=a --cluster=a --cluster=a' },
      '08C00 multiple cluster flags provided',
    ],
    [125, 'an empty flag', { options: '--cluster=' }, '08C00 invalid cluster flag'],
    [
      127,
      'a host',
      { server: 'happy-seal-10.abc.gcp-us-central1.cockroachlabs.cloud' },
      ['happy-seal-10', undefined, undefined],
    ],
    [127, 'a host that is no cluster', { server: 'gate.example.com' }, MISSING],
    [
      129,
      'spaces behind -c',
      { options: '-c   cluster=happy-koala-7' },
      ['happy-koala-7', undefined, undefined],
    ],
    [
      129,
      'no space behind -c',
      { options: '-ccluster=happy-koala-7' },
      ['happy-koala-7', undefined, undefined],
    ],
  ])('row %i: %s', (_row, _what, said, expected) => {
    expect(routed(said)).toEqual(expected)
  })
})

it.each<[string, Said, unknown]>([
  [
    'what is not ours stays',
    { options: '--cluster=happy-tiger --crdb:jwt_auth_enabled=true' },
    ['happy-tiger', undefined, '--crdb:jwt_auth_enabled=true'],
  ],
  [
    'in the middle too',
    { options: '-c a=b --cluster=happy-tiger -c c=d' },
    ['happy-tiger', undefined, '-c a=b  -c c=d'],
  ],
  ['a host in capitals', { server: 'Happy-Tiger.example' }, ['happy-tiger', undefined, undefined]],
  [
    'a host and an option that differ',
    { server: 'happy-tiger.example', options: '--cluster=happy-koala-7' },
    DIFFERENT,
  ],
  [
    'a host and a database that differ',
    { server: 'happy-tiger.example', database: 'happy-koala-7.db' },
    DIFFERENT,
  ],
  [
    'a host that is no cluster, and an option',
    { server: 'gate.example', options: '--cluster=happy-tiger' },
    ['happy-tiger', undefined, undefined],
  ],
  [
    'a database without a dot',
    { server: 'happy-tiger.example', database: 'app' },
    ['happy-tiger', 'app', undefined],
  ],
  ['a name that nobody has', { options: '--cluster=nobody' }, '08C00 cluster nobody not found'],
  [
    'a flag that the cut would make',
    { options: '-c --cluster=happy-tiger cluster=happy-koala-7' },
    '08C00 multiple cluster flags provided',
  ],
  ['another parameter', { options: '--clusters=happy-tiger' }, MISSING],
  [
    'a member that every object has',
    { options: '--cluster=__proto__' },
    '08C00 cluster __proto__ not found',
  ],
])('%s', (_what, said, expected) => {
  expect(routed(said)).toEqual(expected)
})

it('the only cluster needs no name, and nothing is taken from what is said', () => {
  const one = new Map([['happy-tiger', 'happy-tiger']])
  const said = { database: 'a.b.c', options: '--cluster=x', server: 'happy-koala-7.example' }
  expect(routed(said, one)).toEqual(['happy-tiger', 'a.b.c', '--cluster=x'])
})
