/**
 * `postern ca`: which files there are after each step, who may read them, what they hold, what is said;
 * and that a step which was cut short can be run again.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openAuthority } from '../../src/cluster/authority.ts'
import { FAILURES } from '../../src/failure.ts'
import { runIn } from '../support/world.ts'

const NOW = Date.parse('2030-05-05T12:00:00Z')
const DAY_MS = 86_400_000

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'postern-ca-'))
})
afterEach(() => rm(dir, { recursive: true }))

const at = (name: string) => join(dir, 'ca', name)
const read = (name: string) => readFile(at(name), 'utf8')
const modeOf = async (name: string) => ((await stat(at(name))).mode & 0o777).toString(8)
const files = async () => (await readdir(join(dir, 'ca'))).toSorted()

/** What is told, without the directory's name. */
async function ca(args: string[], nowMs = NOW) {
  const { code, stdout, stderr } = await runIn(dir, ['ca', ...args], { now: () => nowMs })
  return { code, stdout: stdout.replaceAll(dir, 'DIR'), stderr: stderr.replaceAll(dir, 'DIR') }
}

async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ca(args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

/** What the files hold: a key that fits its certificate, and whom the nodes trust. */
async function state() {
  const [certPem, keyPem, trusted] = await Promise.all(
    (['ca.crt', 'ca.key', 'trusted.crt'] as const).map(read),
  )
  expect(openAuthority(certPem ?? '', keyPem ?? '', NOW)).toMatchObject({ ok: true })
  const pems = trusted?.match(/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/g) ?? []
  return {
    signs: new X509Certificate(certPem ?? '').fingerprint256,
    trusted: pems.map((pem) => new X509Certificate(pem).fingerprint256),
  }
}

describe('init', () => {
  it('makes a key for its owner alone, a certificate, and what the nodes trust', async () => {
    const said = await done('init')
    expect(await files()).toEqual(['ca.crt', 'ca.key', 'trusted.crt'])
    expect([await modeOf('.'), await modeOf('ca.key')]).toEqual(['700', '600'])
    expect(await read('trusted.crt')).toBe(await read('ca.crt'))
    const certificate = new X509Certificate(await read('ca.crt'))
    expect(certificate.checkPrivateKey(createPrivateKey(await read('ca.key')))).toBe(true)
    expect([certificate.ca, certificate.subject]).toEqual([true, 'CN=Postern client CA'])
    expect(certificate.verify(certificate.publicKey)).toBe(true)
    expect(Date.parse(certificate.validTo)).toBe(NOW + 730 * DAY_MS)
    for (const name of [
      'good for 730 days',
      'DIR/ca/ca.crt',
      'DIR/ca/ca.key',
      'DIR/ca/trusted.crt',
    ])
      expect(said).toContain(name)
    expect(said).not.toContain('PRIVATE')
  })

  it('makes what it is asked for', async () => {
    const said = await done('init', '--dir', 'ca', '--name', 'a "CA", CN=x', '--days', '1')
    expect(said).toContain('good for 1 days:')
    expect(new X509Certificate(await read('ca.crt')).toLegacyObject().subject).toMatchObject({
      CN: 'a "CA", CN=x',
    })
    expect(Date.parse(new X509Certificate(await read('ca.crt')).validTo)).toBe(NOW + DAY_MS)
  })

  it.each([
    ['a key', 'ca.key', 'DIR/ca/ca.key is there already; postern ca rotate replaces it'],
    ['a certificate', 'ca.crt', 'DIR/ca/ca.crt is there already, without its key; move it away'],
  ])('writes over no %s', async (_name, file, says) => {
    await mkdir(join(dir, 'ca'))
    await writeFile(at(file), 'mine')
    expect(await ca(['init'])).toEqual({ code: 1, stdout: '', stderr: `postern: ${says}\n` })
    expect([await files(), await read(file)]).toEqual([[file], 'mine'])
  })

  it('is refused the second time, and changes nothing', async () => {
    await done('init')
    const before = await Promise.all((await files()).map(read))
    expect(await ca(['init'])).toMatchObject({ code: 1, stdout: '' })
    expect(await Promise.all((await files()).map(read))).toEqual(before)
  })

  it('says where it cannot write', async () => {
    await writeFile(join(dir, 'ca'), 'a file')
    const { code, stdout, stderr } = await ca(['init'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^postern: cannot write to DIR\/ca: EEXIST: file already exists/)
  })

  it.each(['0', '3651', '1.5', 'many', '-1'])('takes no %s days', async (days) => {
    const { code, stderr } = await ca(['init', `--days=${days}`])
    expect(code).toBe(64)
    expect(stderr).toContain('write a number of days up to ten years')
  })
})

describe('rotate', () => {
  it('begins, switches and finishes; the nodes trust who signs, all the time', async () => {
    await done('init')
    const first = await state()
    expect(first.trusted).toEqual([first.signs])

    expect(await done('rotate')).toContain('Begun: DIR/ca/trusted.crt holds the old authority and')
    expect(await files()).toEqual(['ca.crt', 'ca.key', 'ca.next.crt', 'ca.next.key', 'trusted.crt'])
    expect(await modeOf('ca.next.key')).toBe('600')
    const begun = await state()
    expect([begun.signs, begun.trusted.length]).toEqual([first.signs, 2])
    expect(begun.trusted).toContain(first.signs)

    const next = await read('ca.next.key')
    expect(await done('rotate')).toContain('Switched: DIR/ca/ca.crt is the new authority')
    expect(await files()).toEqual(['ca.crt', 'ca.key', 'ca.previous.crt', 'trusted.crt'])
    expect([await read('ca.key'), await modeOf('ca.key')]).toEqual([next, '600'])
    const switched = await state()
    expect(switched.signs).not.toBe(first.signs)
    expect(switched.trusted).toEqual(begun.trusted)
    expect(switched.trusted).toContain(switched.signs)

    expect(await done('rotate')).toContain('Finished: DIR/ca/trusted.crt holds the new authority')
    expect(await files()).toEqual(['ca.crt', 'ca.key', 'trusted.crt'])
    expect(await state()).toEqual({ signs: switched.signs, trusted: [switched.signs] })

    expect(await done('rotate')).toContain('Begun: ')
  })

  it('needs something to replace', async () => {
    expect(FAILURES.ca_failed.exit).toBe(1)
    expect(await ca(['rotate'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'postern: there is no authority in DIR/ca; postern ca init makes one\n',
    })
  })

  it('begins again where it was cut short before the new key was there', async () => {
    await done('init')
    await done('rotate')
    const cut = await read('ca.next.crt')
    await rm(at('ca.next.key'))
    expect(await done('rotate')).toContain('Begun: ')
    expect(await read('ca.next.crt')).not.toBe(cut)
    expect(await read('trusted.crt')).toBe((await read('ca.crt')) + (await read('ca.next.crt')))
  })

  it('switches again where it was cut short between the certificate and its key', async () => {
    await done('init')
    const old = await read('ca.crt')
    await done('rotate')
    await writeFile(at('ca.previous.crt'), old)
    await writeFile(at('ca.crt'), await read('ca.next.crt'))
    await rm(at('ca.next.crt'))
    expect(await done('rotate')).toContain('Switched: ')
    expect(await files()).toEqual(['ca.crt', 'ca.key', 'ca.previous.crt', 'trusted.crt'])
    expect(await read('ca.previous.crt')).toBe(old)
    const { signs, trusted } = await state()
    expect(trusted).toContain(signs)
  })

  it.each(['', 'half a key'])('keeps the old key where the next one is %j', async (torn) => {
    await done('init')
    await done('rotate')
    const old = await read('ca.key')
    await writeFile(at('ca.next.key'), torn)
    const { code, stderr } = await ca(['rotate'])
    expect(code).toBe(1)
    expect(stderr).toContain("ca.next.key can't sign")
    expect(await read('ca.key')).toBe(old)
    await rm(at('ca.next.key'))
    expect(await done('rotate')).toContain('Begun: ')
    expect(await done('rotate')).toContain('Switched: ')
  })

  it('says where it cannot write', async () => {
    await done('init')
    await mkdir(at('trusted.crt.new'))
    const { code, stderr } = await ca(['rotate'])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^postern: cannot write to DIR\/ca\/trusted\.crt\.new: EISDIR/)
  })
})

describe('show', () => {
  const line = (what: string, name = 'Postern client CA') =>
    new RegExp(
      `^${what.padEnd(9)} CN=${name}; until .* GMT \\(730 days\\); SHA-256 [0-9A-F:]{95}$`,
      'm',
    )

  it('tells who signs, who will, and who did', async () => {
    await done('init')
    expect(await done('show')).toMatch(line('signs'))
    await done('rotate')
    const begun = await done('show')
    for (const what of ['signs', 'next']) expect(begun).toMatch(line(what))
    await done('rotate')
    const switched = await done('show')
    for (const what of ['signs', 'previous']) expect(switched).toMatch(line(what))
    expect(switched).not.toContain('problem')
  })

  it.each<[string, () => Promise<unknown>, string, number?]>([
    [
      'a key that others can read',
      () => chmod(at('ca.key'), 0o640),
      'DIR/ca/ca.key can be read by others; chmod 0600 it',
    ],
    [
      'another key',
      async () => {
        await done('init', '--dir', 'other')
        await writeFile(at('ca.key'), await readFile(join(dir, 'other', 'ca.key')))
      },
      'ca_key is not the key of ca_cert (of its first certificate)',
    ],
    [
      'no key in its file',
      () => writeFile(at('ca.key'), 'x'),
      'ca_key is not a private key in PEM',
    ],
    [
      'no certificate in its file',
      () => writeFile(at('ca.crt'), 'x'),
      'ca_cert holds no certificate in PEM',
    ],
    [
      'an end',
      async () => undefined,
      'ca_cert expired on May  4 12:00:00 2032 GMT',
      NOW + 731 * DAY_MS,
    ],
  ])('tells of %s', async (_name, spoil, problem, nowMs = NOW) => {
    await done('init')
    await spoil()
    const { code, stdout, stderr } = await ca(['show'], nowMs)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^signs /)
    expect(stdout.trimEnd().split('\n').at(-1)).toBe(`problem   ${problem}`)
  })

  it('tells what is missing: exit 2', async () => {
    const { code, stdout, stderr } = await ca(['show'])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^postern: cannot read DIR\/ca\/ca\.(crt|key): ENOENT/)
  })
})

it.each([
  { args: ['ca'], says: 'Usage: postern ca' },
  { args: ['ca', '--help'], says: '$ postern ca init --dir /etc/postern/ca' },
  { args: ['help', 'ca'], says: 'replace it in three steps' },
])('postern $args says what there is', async ({ args, says }) => {
  const { stdout, stderr } = await runIn(dir, args)
  expect(stdout + stderr).toContain(says)
})
