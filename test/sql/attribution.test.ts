/** What a node session is called: who it is, within 63 bytes, and the client's own name before it. */
import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import type { Asked } from '../../src/sql/ask.ts'
import { sessionParameters } from '../../src/sql/attribution.ts'

const ID = '1869a5c2d3f4e5b6'
const CARL = { issuer: 'https://iss.test', names: ['carl', 'carla'] }
const DIGEST = createHash('sha256')
  .update('https://iss.test\ncarl carla')
  .digest('hex')
  .slice(0, 12)
const LONG = 'x'.repeat(80)

interface Given {
  others?: [string, string][]
  replication?: string
  pool?: object
  attribution?: 'off'
  principal?: typeof CARL | undefined
}

function named({
  others = [],
  replication,
  pool,
  attribution,
  ...rest
}: Given): [string, string][] {
  const asked = { others: new Map(others), replication, options: '-c a=b' } as unknown as Asked
  const cluster = { attribution: attribution ?? ('application_name' as const), pool }
  const principal = 'principal' in rest ? rest.principal : CARL
  const report = { remoteAddress: '192.0.2.7:1' }
  const made = sessionParameters(asked, { id: ID, cluster, report }, principal)
  expect(made).toMatchObject({ replication, options: '-c a=b', remoteAddress: '192.0.2.7:1' })
  return [...made.others]
}

it.each<[string, Given, [string, string][]]>([
  ['a client without a name', {}, [['application_name', `postern/${ID}/${DIGEST}`]]],
  [
    'one with a name',
    {
      others: [
        ['application_name', 'psql'],
        ['DateStyle', 'ISO'],
      ],
    },
    [
      ['DateStyle', 'ISO'],
      ['application_name', `psql postern/${ID}/${DIGEST}`],
    ],
  ],
  [
    'one with a long name',
    { others: [['application_name', LONG]] },
    [['application_name', `${LONG.slice(0, 25)} postern/${ID}/${DIGEST}`]],
  ],
  [
    'one whose name ends in the midst of a character',
    { others: [['application_name', `${'x'.repeat(24)}é`]] },
    [['application_name', `${'x'.repeat(24)} postern/${ID}/${DIGEST}`]],
  ],
  [
    'one that says it twice',
    {
      others: [
        ['application_name', 'a'],
        ['Application_Name', 'b'],
      ],
    },
    [['application_name', `b postern/${ID}/${DIGEST}`]],
  ],
  ['a kept session', { pool: {} }, [['application_name', `postern/-/${DIGEST}`]]],
  [
    'one without a token',
    { pool: {}, principal: undefined },
    [['application_name', `postern/${ID}/-`]],
  ],
  [
    'a standby',
    { replication: 'true', others: [['application_name', 's1']] },
    [['application_name', 's1']],
  ],
  [
    'none of it',
    { attribution: 'off', others: [['application_name', 'a']] },
    [['application_name', 'a']],
  ],
])('%s', (_who, given, expected) => {
  const others = named(given)
  expect(others).toEqual(expected)
  for (const [, value] of others) expect(Buffer.byteLength(value)).toBeLessThanOrEqual(63)
})
