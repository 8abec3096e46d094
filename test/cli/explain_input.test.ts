/**
 * What `postern explain` reads: a token piped, or pasted into a terminal; times; tokens that nobody
 * honest sends; and the records of logins, from a real gate's audit stream and from files that are none.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CHECKS } from '../../src/cli/explanation_login.ts'
import type { World } from '../../src/cli/terminal.ts'
import { FAILURES } from '../../src/failure.ts'
import {
  cause,
  type Explained,
  explainAsJson,
  explainToken,
  settingsText,
} from '../support/explained.ts'
import { forge, part } from '../support/forge.ts'
import { startGate } from '../support/gate.ts'
import { type Claims, claims, es256, ISS, NOW, p256, trusting } from '../support/log_in.ts'
import { type Conversation, error, startScriptedNode } from '../support/scripted_node.ts'
import { openTls, signIn } from '../support/wire_client.ts'
import { runIn } from '../support/world.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-explain-'))
  await writeFile(join(dir, 'postern.yaml'), settingsText(trusting))
})
afterAll(() => rm(dir, { recursive: true }))

const world = (input: Readable): Partial<World> => ({
  stdin: () => input,
  stop: new AbortController().signal,
})
const explain = (input: Readable, ...args: string[]) =>
  runIn(dir, ['explain', '--at', String(NOW), ...args], world(input))
const piped = (text: string) => Readable.from([Buffer.from(text)])
const good = es256({})

describe('standard input', () => {
  test.each<[string, string, string]>([
    ['nothing', '', 'no token came on standard input; try: postern explain < token.txt'],
    ['an empty line', ' \n', 'no token came on standard input; try: postern explain < token.txt'],
    [
      'several lines',
      `${good}\n${good}`,
      'what came on standard input is several words or lines; a token is one word',
    ],
    [
      'a whole command',
      `PGPASSWORD=${good}`,
      'give the token alone, without the name and the "=" before it',
    ],
    [
      'a header',
      `Authorization: Bearer ${good}`,
      'give the token alone, without "Bearer" before it',
    ],
    ['half a header', `bearer ${good}`, 'give the token alone, without "Bearer" before it'],
    ['too much', 'a'.repeat(131_073), 'what came on standard input is too long for a token'],
  ])('that is %s: exit 64', async (_name, text, problem) => {
    const { code, stdout, stderr } = await explain(piped(text))
    expect({ code, stdout, stderr }).toEqual({
      code: 64,
      stdout: '',
      stderr: `postern: ${problem}\n`,
    })
  })

  test('may come in pieces, and end in a line break', async () => {
    const pieces = [...`${good}\r\n`].map((letter) => Buffer.from(letter))
    expect(await explain(Readable.from(pieces))).toMatchObject({ code: 0, stderr: '' })
  })

  test('that never ends is over when somebody stops it', async () => {
    const stop = new AbortController()
    const ended = runIn(dir, ['explain'], { ...world(new PassThrough()), stop: stop.signal })
    stop.abort()
    expect(await ended).toMatchObject({
      code: 64,
      stderr: 'postern: stopped before a token was there\n',
    })
  })

  const terminal = (...keys: string[]) => {
    const modes: boolean[] = []
    const input = Object.assign(new PassThrough(), {
      isTTY: true,
      setRawMode: (raw: boolean) => modes.push(raw),
    })
    for (const each of keys) input.write(each)
    return { input, modes }
  }
  const PROMPT = 'Paste the token (it is not shown), then press Enter: \n'

  test.each([
    ['Enter', ['\r']],
    ['Enter, after spaces', ['  ', '\n']],
    ['Enter, though a line break came before it', [`\r${good}`, '\r']],
    ['Ctrl-D', ['\r\x04']],
    ['Ctrl-D alone', ['\x04 ']],
  ])('that is a terminal is asked, shows nothing, and ends by %s', async (_name, keys) => {
    const [first = ''] = keys
    const { input, modes } = terminal(first.includes(good) ? '' : good, ...keys)
    expect(await explain(input)).toMatchObject({ code: 0, stderr: PROMPT })
    expect(modes).toEqual([true, false])
  })

  test('that is a terminal into which several lines are pasted takes them all', async () => {
    const { input } = terminal(`${good}\r${good}\r`)
    const stderr = `${PROMPT}postern: what came on standard input is several words or lines; a token is one word\n`
    expect(await explain(input)).toMatchObject({ code: 64, stdout: '', stderr })
    expect(input.read()).toBe(null)
  })

  test('that is a terminal with nothing in it', async () => {
    const { input } = terminal('\r')
    const stderr = `${PROMPT}postern: no token came on standard input; try: postern explain < token.txt\n`
    expect(await explain(input)).toMatchObject({ code: 64, stdout: '', stderr })
  })

  test('that is a terminal ends by Ctrl-C as well', async () => {
    const { input, modes } = terminal('eyJ\x03')
    const stderr = `${PROMPT}postern: stopped before a token was there\n`
    expect(await explain(input)).toMatchObject({ code: 64, stdout: '', stderr })
    expect(modes).toEqual([true, false])
  })
})

describe('options', () => {
  test('a refusal is exit code 1', () => {
    expect(FAILURES.explain_refused.exit).toBe(1)
  })

  test.each([
    ['1800000000', '2027-01-15 08:00:00'],
    ['2027-01-15', '2027-01-15 00:00:00'],
    ['2027-01-15T09:30', '2027-01-15 09:30:00'],
    ['2027-01-15 09:30:01.5Z', '2027-01-15 09:30:01'],
    ['2027-01-15T09:30:00+01:30', '2027-01-15 08:00:00'],
  ])('--at %s', async (at, judged) => {
    const { stdout } = await runIn(dir, ['explain', '--at', at], world(piped(good)))
    expect(stdout).toContain(`granted at ${judged} UTC: maxroach`)
  })

  test.each([
    [['--at', 'noon'], "'noon' is invalid. write a time like 2026-01-31T12:00:00Z"],
    [['--at', '2027-13-01'], "'2027-13-01' is invalid"],
    [['--at', '-1'], "'-1' is invalid"],
    [['--user', 'a\nb'], 'write a name'],
    [['--audit', 'audit.log'], '--audit goes with --request-id'],
    [['--request-id', 'x'], '--request-id needs --audit: the file of the audit stream'],
  ])('%j: exit 64', async (args, says) => {
    const { code, stdout, stderr } = await runIn(dir, ['explain', ...args], world(piped(good)))
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' })
    expect(stderr).toContain(says)
  })

  test('a configuration that is not there, or is none: exit 2', async () => {
    expect(await explain(piped(good), '--config', 'missing.yaml')).toMatchObject({
      code: 2,
      stdout: '',
    })
    await writeFile(join(dir, 'wrong.yaml'), 'listeners: []')
    expect(await explain(piped(good), '--config', 'wrong.yaml')).toMatchObject({
      code: 2,
      stdout: '',
    })
  })

  test('the clock is the one of now, where no other is given', async () => {
    const now = () => NOW * 1000 + 400
    const { stdout } = await runIn(dir, ['explain'], { ...world(piped(good)), now })
    expect(stdout).toContain('granted at 2027-01-15 08:00:00 UTC')
  })
})

describe('hostile tokens', () => {
  const [header = '', payload = '', signature = ''] = good.split('.')
  const obeyed = '\x1b]0;x\x07\u202e\u2028'

  test.each<[string, string, string]>([
    ['a JWE', `${good}.a.b`, 'header invalid_token'],
    [
      'JSON serialisation',
      JSON.stringify({ payload, protected: header, signature }),
      'header invalid_token',
    ],
    ['dots', '.'.repeat(100_000), 'header invalid_token'],
    ['a header that is a list', forge('[]', claims, 'ES256', p256), 'header invalid_token'],
    [
      'a nested token',
      forge({ alg: 'ES256', kid: 'p256' }, good, 'ES256', p256),
      'header invalid_token',
    ],
    ['alg none', `${part({ alg: 'none', kid: 'p256' })}.${payload}.`, 'signature invalid_token'],
    [
      'other claims',
      `${header}.${part({ ...claims, sub: 'root' })}.${signature}`,
      'signature invalid_token',
    ],
    [
      'a key of its own',
      es256({}, { kid: 'x', jku: 'https://evil.test/jwks.json' }),
      'key invalid_token',
    ],
    ['a kid that a terminal obeys', es256({}, { kid: obeyed }), 'key invalid_token'],
    ['a kid and an alg of other kinds', es256({}, { kid: {}, alg: [] }), 'key invalid_token'],
    ['an issuer that a terminal obeys', es256({ iss: obeyed }), 'issuer invalid_issuer'],
    ['a list of issuers', es256({ iss: [ISS] }), 'issuer invalid_issuer'],
    ['an issuer without end', es256({ iss: 'i'.repeat(50_000) }), 'issuer invalid_issuer'],
    ['a subject that a terminal obeys', es256({ sub: obeyed }), 'claim invalid_claim_value'],
    [
      'a subject of the other direction',
      es256({ sub: 'max\u202eroach' }),
      'in as max\u202eroach'.replace('\u202e', '\ufffd'),
    ],
    ['an audience that a terminal obeys', es256({ aud: obeyed }), 'audience invalid_audience'],
    ['a time beyond the calendar', es256({ exp: 9e15 }), 'in as maxroach'],
    ['a time that is none', es256({ exp: 1e300 }), 'exp invalid_token'],
    ['an id of another kind', es256({ jti: ['gone'], exp: 'x' }), 'jti invalid_token'],
    ['times of other kinds', es256({ iat: {}, exp: 'x', nbf: [] }), 'iat invalid_token'],
    [
      'a claim nested deep',
      es256({ sub: [JSON.parse('['.repeat(2000) + ']'.repeat(2000))] }),
      'claim invalid_claim_value',
    ],
    ['nobody', es256({ sub: [] }), 'user invalid_principal'],
    [
      'thousands of names',
      es256({
        sub: Array(5000)
          .fill('g')
          .map((g, at) => `${g}${at}`),
      }),
      'user invalid_principal',
    ],
  ])('%s', async (_name, token, expected) => {
    const asked = {
      settings: trusting,
      token,
      args: expected.startsWith('user') ? ['--user', 'x'] : [],
    }
    expect(cause(await explainAsJson(dir, asked))).toBe(expected)
    await explainToken(dir, asked)
  })

  test('a megabyte of groups is summed up', async () => {
    const groups = Array.from({ length: 8_000 }, (_, at) => `group${at}`)
    const settings: Claims = {
      ...trusting,
      management: { role: 'gate' },
      'authorization.enabled': true,
      'authorization.roles': ['/^group7\\d+$'],
    }
    const { checks } = await explainAsJson(dir, { settings, token: es256({ groups }) })
    const check = checks.find(({ name }) => name === 'groups')
    expect(check?.says).toMatch(
      /^8000 of the token, roles: group70, group71, .*group709 and 980 more$/,
    )
    expect(check?.lines).toHaveLength(21)
  })
})

describe('the record of a login', () => {
  /** Signs in to a real gate, and explains what stands in its audit stream under the request id. */
  async function recorded(
    user: string,
    more: Claims,
    node: 'willing' | 'refusing' = 'willing',
    cluster: Claims = {},
  ) {
    const said = error('28000', `role "${user}" is not permitted to log in`)
    const refusing = { greet: ({ send }: Conversation) => send(said) }
    const scripted = await startScriptedNode(node === 'willing' ? {} : refusing)
    const gate = await startGate({ node: scripted.address, cluster })
    const client = await openTls(gate.port, gate.caPem)
    await signIn(client, { user }, await gate.token(user, more))
    const { SessionID, Result } = await gate.event('login_decision')
    if (Result === 'granted')
      await gate.event(`client_authentication_${node === 'willing' ? 'ok' : 'failed'}`)
    client.close()
    await gate.close()
    await scripted.close()
    return { id: String(SessionID), lines: gate.audit.map((line) => JSON.stringify(line)) }
  }

  async function ofFile(lines: readonly string[], id: string, ...args: string[]) {
    await writeFile(join(dir, 'audit.log'), `${lines.join('\n')}\n`)
    return await runIn(dir, ['explain', '--request-id', id, '--audit', 'audit.log', ...args])
  }
  const json = (text: string) => JSON.parse(text) as Explained

  test('that was refused says the same as the token', async () => {
    const { id, lines } = await recorded('maxroach', { exp: 1_000_000_000 })
    const { code, stdout, stderr } = await ofFile(lines, id)
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'postern: the gate refused this login (invalid_token)\n',
    })
    expect(stdout).toMatch(/^✗ exp {10}2001-09-09 01:46:40 UTC, expired \d+ y \d+ d ago$/m)
    expect(stdout).toMatch(/^✓ key {10}from the configuration$/m)
    expect(stdout).toMatch(
      /^the client reads {2}FATAL: JWT authentication: invalid token \(SQLSTATE 28000\)$/m,
    )
    expect(stdout).toMatch(/^what to do {8}Get a fresh token\.$/m)
    expect(cause(json((await ofFile(lines, id, '--json')).stdout))).toBe('exp invalid_token')
  })

  test('that was granted ends with what the node said', async () => {
    const { id, lines } = await recorded('maxroach', {})
    const { code, stdout, stderr } = await ofFile(lines, id)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^✓ node {9}signed in as maxroach$/m)
    expect(stdout).toMatch(/^decision {10}granted at [-0-9]+ [:0-9]+ UTC: maxroach$/m)
  })

  test('has the fields and checks that docs/explain.md lists', async () => {
    const { id, lines } = await recorded('maxroach', {}, 'refusing')
    const explained = json((await ofFile(lines, id, '--json')).stdout)
    const [check = {}] = explained.checks
    const fields = [...Object.keys(explained), ...Object.keys(check), ...CHECKS]
    const text = await readFile(new URL('../../docs/explain.md', import.meta.url), 'utf8')
    expect(fields.filter((field) => !text.includes(`\`${field}\``))).toEqual([])
  })

  test('that the node refused says so', async () => {
    const { id, lines } = await recorded('maxroach', {}, 'refusing')
    const { code, stdout } = await ofFile(lines, id, '--json')
    const explained = json(stdout)
    expect(code).toBe(1)
    expect(explained.checks.at(-1)).toMatchObject({ name: 'node', verdict: 'failed' })
    expect(explained).toMatchObject({ Result: 'granted', Node: { Failure: 'role_refused' } })
    expect(explained.todo).toContain('postern cluster doctor --role maxroach')
  })

  test('that ended while the node was asked for powers says so, whatever its groups', async () => {
    const management = { management: { role: 'gate' } }
    const { id, lines } = await recorded('maxroach', { groups: ['a'] }, 'refusing', management)
    const { code, stdout } = await ofFile(lines, id)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^✗ powers {7}the management role: 28000: role /m)
    expect(stdout).toMatch(/^what to do {8}Let postern cluster doctor say what the node lacks\.$/m)
  })

  test('with a configuration shows its map, and says that it is of now', async () => {
    const { id, lines } = await recorded('maxroach', { aud: 'another' })
    const map = { ...trusting, map: `${ISS} maxroach maxroach` }
    await writeFile(join(dir, 'with_map.yaml'), settingsText(map))
    const { stdout } = await ofFile(lines, id, '--config', 'with_map.yaml')
    expect(stdout).toMatch(/^✗ audience {5}another; accepted: postern-test$/m)
    expect(stdout).toMatch(/^note {14}the settings shown are those of the file now;/m)
  })

  const verified = { digest: 'd', verified: true }
  const record = (more: Claims) =>
    JSON.stringify({
      SessionID: 'abc',
      EventType: 'login_decision',
      Result: 'refused',
      Failure: 'invalid_token',
      Timestamp: NOW * 1_000_000_000,
      ...more,
    })

  test.each<[string, Claims, string]>([
    [
      'before a token was there',
      { Failure: 'token_required', Why: 'password authentication failed for user x' },
      'client token_required',
    ],
    ['in the middle', { Failure: 'login_timeout', Token: { digest: 'd' } }, 'key login_timeout'],
    [
      'while its powers were asked for, whatever is known of its groups',
      { Failure: 'login_timeout', Step: 'powers', Token: { ...verified, groups: ['a'] } },
      'powers login_timeout',
    ],
    [
      'while the user was made',
      { Failure: 'shutting_down', Step: 'provisioning', Token: verified },
      'provisioning shutting_down',
    ],
    [
      'while userinfo was asked for',
      { Failure: 'login_timeout', Step: 'groups', Token: verified },
      'groups login_timeout',
    ],
    [
      'at a step that nobody knows',
      { Failure: 'jwks_unavailable', Step: 'toString' },
      'key jwks_unavailable',
    ],
    [
      'by its keys',
      {
        Failure: 'jwks_unavailable',
        Why: 'JWT authentication: unable to validate token; no route',
      },
      'key jwks_unavailable',
    ],
    [
      'for its powers',
      {
        Failure: 'invalid_identity',
        Step: 'powers',
        Why: 'JWT authentication: invalid identity; cannot use JWT auth to login to a reserved user x; the role has SUPERUSER; name it in allow_roles if a token is to be enough',
      },
      'powers invalid_identity',
    ],
    [
      'for its groups',
      {
        Failure: 'empty_group_list',
        Step: 'groups',
        Token: { digest: 'd', verified: true, groups: [], groupCount: 0, groupsFrom: 'userinfo' },
      },
      'groups empty_group_list',
    ],
    [
      'for the role that was to be made',
      { Failure: 'provisioning_failed', Step: 'provisioning' },
      'provisioning provisioning_failed',
    ],
    ['for replication', { Failure: 'replication_refused' }, 'replication replication_refused'],
    [
      'by a failure that nobody knows',
      { Failure: 'constructor', Why: '__proto__' },
      'client constructor',
    ],
    [
      'with members of other kinds',
      {
        Failure: 'invalid_audience',
        Token: { users: 5, names: [1, 'a'], exp: {}, mapLines: 'x' },
        AcceptedAudiences: 7,
        User: [],
        Timestamp: 'x',
      },
      'audience invalid_audience',
    ],
    ['with a token that is none', { Token: ['digest'] }, 'header invalid_token'],
  ])('that ended %s', async (_name, more, expected) => {
    const lines = [
      '',
      'not JSON abc',
      '[]',
      '{"SessionID":"abc"}',
      record({ SessionID: 'abcd' }),
      record(more),
    ]
    const { code, stdout } = await ofFile(lines, 'abc', '--json')
    expect({ code, cause: cause(json(stdout)) }).toEqual({ code: 1, cause: expected })
    expect((await ofFile(lines, 'abc')).code).toBe(1)
  })

  const USERINFO = 'JWT authorization: userinfo lookup failed'
  const GROUPS = 'Have the issuer put the groups into the token, or '
  const SYNC = 'JWT authorization: the groups could not become memberships; memberships of "ops-2"'
  const SETUP = 'postern cluster setup prints the rights that the management role needs'
  const AGAIN =
    'Sign in again; if it stays so, see in pg_locks of the node who holds the roles in an open transaction.'
  const MADE = 'JWT provisioning: failed to create role; role "ops-2"'
  const RIGHTS =
    'Give the management role the rights that postern cluster setup prints for it on this cluster.'
  test.each<[string, string, string, string]>([
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; GET https://a.test/userinfo returned 401`,
      `${GROUPS}have the client get a token that its userinfo endpoint takes, with the scope openid.`,
    ],
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; GET https://a.test/userinfo returned 500`,
      `${GROUPS}see why it answers so.`,
    ],
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; Get "https://a.test/userinfo": nobody knows a.test`,
      `${GROUPS}let this machine reach it by HTTPS; server.jwt_authentication.issuers.custom_ca trusts an authority of your own, client.timeout gives it more time, HTTPS_PROXY names a proxy.`,
    ],
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; userinfo is about another subject than the token`,
      `${GROUPS}have its userinfo endpoint tell of the subject of the token.`,
    ],
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; signed userinfo (application/jwt) is not supported`,
      `${GROUPS}have its userinfo endpoint answer in JSON that is not signed.`,
    ],
    [
      'userinfo_lookup_failed',
      'groups',
      `${USERINFO}; userinfo is not a JSON object`,
      `${GROUPS}have its userinfo endpoint answer as OpenID Connect Core 5.3 says.`,
    ],
    ['role_sync_failed', 'groups', `${SYNC}: 42501: permission denied; ${SETUP}`, RIGHTS],
    ['role_sync_failed', 'groups', `${SYNC}: 55P03: canceling statement; ${SETUP}`, AGAIN],
    ['role_sync_failed', 'groups', `${SYNC}: others change them all the time; ${SETUP}`, AGAIN],
    [
      'provisioning_failed',
      'provisioning',
      `${MADE}: 42501: permission denied to create role`,
      RIGHTS,
    ],
    [
      'provisioning_failed',
      'provisioning',
      `${MADE}: the name is one that a group may become`,
      'Make the role ops-2 by hand, or let server.identity_map.configuration map the name to one that authorization.roles does not match.',
    ],
    [
      'provisioning_failed',
      'provisioning',
      `${MADE}: the name is reserved`,
      'Make the role ops-2 by hand, or let server.identity_map.configuration map the name to one that is not reserved.',
    ],
    [
      'node_signin_failed',
      'powers',
      'the gate could not sign in to the database; the management role: no',
      'Let postern cluster doctor say what the node lacks.',
    ],
  ])('that ended with %s at %s', async (Failure, Step, Why, todo) => {
    const login = { Failure, Step, Why, User: 'ops-2', Token: verified }
    const { stdout } = await ofFile([record(login)], 'abc', '--json')
    expect(json(stdout)).toMatchObject({ todo })
    expect(cause(json(stdout))).toBe(`${Step} ${Failure}`)
  })

  test('with words that a terminal obeys keeps them from it', async () => {
    const evil = 'x\x1b[31m\n✓ node signed in\u202e'
    const token = {
      digest: 'd',
      verified: true,
      issuer: evil,
      names: [evil],
      users: [evil],
      groups: [evil],
      roles: [],
    }
    const line = record({ Failure: 'invalid_audience', Why: evil, User: evil, Token: token })
    for (const args of [[], ['--json']]) {
      const { stdout } = await ofFile([line], 'abc', ...args)
      expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
      expect(stdout).not.toMatch(/^✓ node/m)
    }
  })

  test('is found in a stream of any size, and on standard input', async () => {
    const filler = Buffer.from(`${record({ SessionID: 'other', Why: 'w'.repeat(500) })}\n`)
    async function* stream() {
      for (let at = 0; at < 20_000; at++) yield filler
      for (let at = 0; at < 40; at++) yield Buffer.alloc(100_000, 'abc')
      yield Buffer.from(`\n${record({ Failure: 'invalid_issuer' }).slice(0, 40)}`)
      yield Buffer.from(`${record({ Failure: 'invalid_issuer' }).slice(40)}\n`)
    }
    const args = ['explain', '--request-id', 'abc', '--audit', '-', '--json']
    const { stdout } = await runIn(dir, args, world(Readable.from(stream(), { objectMode: false })))
    expect(cause(json(stdout))).toBe('issuer invalid_issuer')
  })

  test.each<[string, number, string]>([
    ['audit.log', 64, 'postern: audit.log: no login in it has the request id nobody\n'],
    ['-', 64, 'postern: standard input: no login in it has the request id nobody\n'],
    ['missing.log', 2, 'postern: cannot read missing.log: ENOENT'],
    ['.', 2, 'postern: cannot read .: EISDIR'],
  ])('that is not in %s: exit %i', async (file, exit, says) => {
    await writeFile(join(dir, 'audit.log'), randomBytes(100_000))
    const { code, stderr } = await runIn(dir, [
      'explain',
      '--request-id',
      'nobody',
      '--audit',
      file,
    ])
    expect(code).toBe(exit)
    expect(stderr.slice(0, says.length)).toBe(says)
  })
})
