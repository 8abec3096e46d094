/**
 * Secrets of roles, and clients that bring no token: what is told of mistakes, with no secret in it, and
 * what a good file becomes.
 */
import { inspect } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { FILES, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(async () => {
  await makeFiles()
  FILES['/etc/postern/carl.secret'] = 'hunter2-from-a-file\n'
})

interface Written {
  node?: string
  signIn?: string
  listener?: string
  more?: string
}

const TLS_LISTENER = '{address: 127.0.0.1:26257, tls: {cert_file: gate.crt, key_file: gate.key}}'
const PLAIN_LISTENER = '{address: 127.0.0.1:26257, allow_plaintext: true}'
const UNIX_LISTENER = '{directory: /run/postern}'
const REMOTE = '{address: db:5432, tls: {ca_file: ca.crt}}'
const HERE = '{address: /run/pg/.s.PGSQL.5432}'

function text({ node = REMOTE, signIn = 'scram', listener = TLS_LISTENER, more = '' }: Written) {
  return `listeners: [${listener}]
clusters:
  main:
    kind: postgresql
    nodes: [${node}]
    sign_in: ${signIn}
${more}
`
}

const SECRETS = '    scram: {secrets: {carl: hunter2, dora: "{file: x}"}}'
const WRITE = 'write scram: {secrets: {ROLE: {file: path}}}'
const WRITE_SECRET = 'write the secret as text in quotes, or {file: path}; it may not be empty'
const OAUTH = `    server.oauthbearer_authentication.enabled: true
    server.jwt_authentication.issuers.configuration: https://iss.test`

describe('mistakes', () => {
  test.each<[string, Written, string[]]>([
    [
      'no secrets',
      {},
      ['6:14: scram needs scram: {secrets: {ROLE: {file: path}}}, one for each role'],
    ],
    [
      'an empty list of them',
      { more: '    scram: {secrets: {}}' },
      ['6:14: scram needs scram: {secrets: {ROLE: {file: path}}}, one for each role'],
    ],
    ['a secret in their place', { more: '    scram: hunter2' }, [`7:12: ${WRITE}`]],
    ['a secret one deeper', { more: '    scram: {secrets: hunter2}' }, [`7:22: ${WRITE}`]],
    ['a list', { more: '    scram: {secrets: [hunter2]}' }, [`7:22: ${WRITE}`]],
    ['nothing there', { more: '    scram: {}' }, [`7:12: ${WRITE}`]],
    ['an unknown key', { more: `${SECRETS.slice(0, -1)}, salt: 1}` }, ['7:58: unknown key "salt"']],
    ['a number', { more: '    scram: {secrets: {carl: 12345}}' }, [`7:29: ${WRITE_SECRET}`]],
    ['an empty one', { more: '    scram: {secrets: {carl: ""}}' }, [`7:29: ${WRITE_SECRET}`]],
    ['a NUL', { more: '    scram: {secrets: {carl: "a\\0b"}}' }, [`7:29: ${WRITE_SECRET}`]],
    [
      'a file that is not there',
      { more: '    scram: {secrets: {carl: {file: no.secret}}}' },
      [
        "7:29: cannot read no.secret: ENOENT: no such file or directory, open '/etc/postern/no.secret'",
      ],
    ],
    [
      'a management role without one',
      { more: `${SECRETS}\n    management: {role: boss}` },
      ['8:17: scram.secrets has none for "boss", which signs in as every role does'],
    ],
    [
      'a node far away, in clear',
      { node: '{address: db:5432}', more: SECRETS },
      ['6:14: scram needs a node on this machine, or tls: {ca_file}'],
    ],
    [
      'OAUTHBEARER besides',
      { more: `${SECRETS}\n    non_jwt_logins: detect\n${OAUTH}` },
      [
        '8:21: a client can be asked one question: write reject, or turn server.oauthbearer_authentication.enabled off',
      ],
    ],
    [
      'an unknown way',
      { more: `${SECRETS}\n    non_jwt_logins: guess` },
      ['8:21: write reject or passthrough or detect, not "guess"'],
    ],
    [
      'passwords in clear to a node',
      {
        node: '{address: 127.0.0.1:5432}',
        listener: PLAIN_LISTENER,
        more: `${SECRETS}\n    non_jwt_logins: passthrough`,
      },
      [
        "8:21: passthrough sends users' passwords to the node; give it tls: {ca_file}, or the path of its unix socket",
      ],
    ],
    [
      'a password asked for where nobody may be asked',
      { listener: PLAIN_LISTENER, more: `${SECRETS}\n    non_jwt_logins: detect` },
      [
        '8:21: detect asks for a password over TLS or on a unix socket alone; give a listener tls: {cert_file, key_file}',
      ],
    ],
    [
      'passthrough between two TLS connections',
      { more: `${SECRETS}\n    non_jwt_logins: passthrough` },
      [
        "8:21: with TLS on both sides SCRAM's channel binding can't pass the gate; where clients can do without it (channel_binding=disable), write passthrough_scram: no_channel_binding",
      ],
    ],
    [
      'the same where one listener of several has TLS',
      {
        listener: `${UNIX_LISTENER}, ${TLS_LISTENER}`,
        more: `${SECRETS}\n    non_jwt_logins: passthrough`,
      },
      [
        "8:21: with TLS on both sides SCRAM's channel binding can't pass the gate; where clients can do without it (channel_binding=disable), write passthrough_scram: no_channel_binding",
      ],
    ],
  ])('%s', (_name, written, mistakes) => {
    const found = told(text(written))
    expect(found).toEqual(mistakes)
    expect(found.join()).not.toMatch(/hunter2|12345/)
  })
})

describe('a good file', () => {
  const passing = '    non_jwt_logins: passthrough'
  test.each<[string, Written]>([
    ['secrets over TLS', { more: SECRETS }],
    ['secrets by a socket', { node: HERE, more: SECRETS }],
    ['secrets on this machine', { node: '{address: 127.0.0.1:5432}', more: SECRETS }],
    [
      'one of a file, and of the management role',
      { more: '    scram: {secrets: {carl: {file: carl.secret}}}\n    management: {role: carl}' },
    ],
    ['detect', { more: `${SECRETS}\n    non_jwt_logins: detect` }],
    [
      'detect on a socket',
      {
        listener: `${UNIX_LISTENER}, ${PLAIN_LISTENER.replace('26257', '26258')}`,
        more: `${SECRETS}\n    non_jwt_logins: detect`,
      },
    ],
    ['passthrough by a socket', { node: HERE, more: `${SECRETS}\n${passing}` }],
    ['passthrough from a socket', { listener: UNIX_LISTENER, more: `${SECRETS}\n${passing}` }],
    [
      'passthrough between two TLS connections, where that is said',
      { more: `${SECRETS}\n${passing}\n    passthrough_scram: no_channel_binding` },
    ],
  ])('%s', (_name, written) => {
    expect(told(text(written))).toEqual([])
  })

  test('has secrets that nothing prints', () => {
    const [cluster] = parse(text({ more: SECRETS })).clusters
    expect(cluster).toMatchObject({ signIn: 'scram', nonJwtLogins: 'reject' })
    expect(JSON.stringify(cluster) + inspect(cluster, { depth: null })).not.toContain('hunter2')
  })
})
