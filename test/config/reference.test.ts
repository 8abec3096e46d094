/**
 * config/postern.yaml is what people read, the schema what the gate reads: the same keys, the same
 * defaults, in both directions. In the file a key's comment ends with `Required.` or `Default: …`,
 * and a line that begins with `#` and no space is a key that is unset.
 */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { isMap, isScalar, isSeq, LineCounter, parseDocument, parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { parseConfig } from '../../src/config/config.ts'
import { check } from '../../src/config/mistakes.ts'
import { addressNode, dnsNodes, node, srvNodes } from '../../src/config/node_settings.ts'
import * as schema from '../../src/config/schema.ts'
import { issue, makeCa } from '../../src/dev/certificates.ts'
import { ec, jwk } from '../support/forge.ts'

const text = readFileSync(new URL('../../config/postern.yaml', import.meta.url), 'utf8')
const lines = text.split('\n')
const ALIAS = 'server.jwt_authentication.issuers'
const KEY_LINE = /^(\s*)#(?=\S)/

/** Removes the `#` of unset keys, but for those that `leave` matches. */
function uncommented(leave?: RegExp): string {
  return lines
    .map((line) => (leave?.test(line) ? line : line.replace(KEY_LINE, '$1')))
    .join('\n')
    .replace(FORWARD, 'sign_in: certificate')
}

/** With it the gate has no way in of its own, which `state` takes. */
const FORWARD = 'sign_in: forward'

const { keys, records } = schemaKeys()
const written = fileKeys()

test('the file has every key of the schema, and no other', () => {
  expect([...new Set(written.map(({ path }) => path))].sort()).toEqual([...keys.keys()].sort())
  // Of both kinds of listeners, and within what has names of one's own.
  expect([...keys.keys()]).toEqual(
    expect.arrayContaining([
      'listeners[].address',
      'listeners[].directory',
      'clusters.*.nodes[].tls.ca_file',
      'clusters.*.nodes[].srv',
      'clusters.*.issuer_options.*.jwks',
      'log.level',
    ]),
  )
})

describe.each(written)('$path', ({ path, comment, line, value }) => {
  const key = keys.get(path)
  const last = comment.at(-1) ?? ''

  test('has a sentence', () => {
    const sentences = comment.slice(0, -1).join(' ')
    expect(sentences || last, `line ${line}`).toMatch(/\w.*[.:]/)
  })

  test('says as the schema whether it is required, and what it is otherwise', () => {
    const [, said] = /^Default: (.*)$/.exec(last) ?? []
    switch (key?.kind) {
      case 'required':
        // A required key of a section that is unset is unset with it, and that of an item with the item.
        if (isUnset(line) && !/\[\]\.\w+$/.test(path))
          expect(['unset', 'default']).toContain(keys.get(above(path))?.kind)
        return expect(last).toBe('Required.')
      case 'unset':
        return expect(said).toBe('unset')
      case 'default': {
        expect(said).toBeDefined()
        const read = check(key.schema, parseYaml(said ?? ''))
        expect(read).toEqual({ ok: true, value: key.value })
        // A default that stands in the file is the one that its comment says.
        if (!isUnset(line)) expect(value).toEqual(parseYaml(said ?? ''))
        return
      }
      default:
        expect(last).not.toMatch(/^(Required\.|Default: )/)
    }
  })
})

describe('the file', () => {
  const files: Record<string, string> = {}

  beforeAll(async () => {
    const ca = await makeCa()
    const gate = await issue(ca, { cn: 'gate.example.com' })
    Object.assign(files, {
      'gate.crt': gate.certPem,
      'gate.key': gate.keyPem,
      'other.crt': gate.certPem,
      'other.key': gate.keyPem,
      'clients.crt': ca.certPem,
      'ca.crt': ca.certPem,
      'ca.key': ca.keyPem,
      'trusted.crt': ca.certPem,
      'logs-ca.crt': ca.certPem,
      'audit.key': '0123456789abcdef0123456789abcdef',
      'cluster-ca.crt': ca.certPem,
      'issuer-ca.crt': ca.certPem,
      maxroach: 'a secret of the role',
      'allowlist.yaml': 'SequenceNumber: 1',
      'denylist.yaml': 'SequenceNumber: 1',
      'issuer.jwks.json': JSON.stringify({ keys: [jwk(ec('P-256'), { kid: 'k' })] }),
    })
  })

  const read = (yaml: string) =>
    parseConfig('postern.yaml', yaml, {
      env: () => undefined,
      fileMode: () => 0o600,
      now: Date.now,
      readFile(path) {
        const found = files[path.slice(path.lastIndexOf('/') + 1)]
        if (found === undefined) throw new Error('no such file')
        return found
      },
    })

  test('is a configuration as it stands, which lets nobody in', () => {
    const { trust, rules } = read(text).clusters[0]
    expect(trust.enabled).toBe(false)
    expect([trust.issuers.size, trust.keySources.size, rules.audiences.size]).toEqual([0, 0, 0])
  })

  test('is one with every key, under either name of the issuers', () => {
    const long = read(uncommented(new RegExp(`#${ALIAS}: `)))
    const short = read(uncommented(new RegExp(`#${ALIAS}\\.configuration: `)))
    expect(long.clusters[0].trust.issuers).toEqual(new Set(['https://issuer.example.com']))
    expect(short.clusters[0].trust.issuers).toEqual(long.clusters[0].trust.issuers)
    expect([...long.clusters[0].trust.keySources.keys()]).toEqual(['https://issuer.example.com'])
    expect(long.ops).toEqual({ listen: { host: '127.0.0.1', port: 8080 }, hosts: [] })
  })

  test('has lines that fit a terminal, and no tabs', () => {
    expect(lines.filter((line) => line.length > 101 || /\t|\s$/.test(line))).toEqual([])
  })
})

interface Written {
  path: string
  line: number
  value: unknown
  /** The lines above, without their `#`. */
  comment: string[]
}

/** Every key that the file has, unset ones too; `[]` stands for an item, `*` for a name of one's own. */
function fileKeys(): Written[] {
  const counter = new LineCounter()
  const document = parseDocument(uncommented(), { lineCounter: counter })
  expect(document.errors).toEqual([])
  const found: Written[] = []
  const walk = (node: unknown, path: string) => {
    if (isSeq(node)) for (const item of node.items) walk(item, `${path}[]`)
    if (!isMap(node)) return
    for (const { key, value } of node.items) {
      if (!isScalar(key)) continue
      const own = records.has(path)
      const below = own ? `${path}.*` : path === '' ? String(key.value) : `${path}.${key.value}`
      const { line } = counter.linePos(key.range?.[0] ?? 0)
      const js = isScalar(value) || isMap(value) || isSeq(value) ? value.toJS(document) : value
      if (!own) found.push({ path: below, line, value: js, comment: commentAbove(line) })
      walk(value, below)
    }
  }
  walk(document.contents, '')
  return found.filter(({ path }) => !/\.(jwks|custom_ca|secrets\.\*)\.file$/.test(path))
}

function commentAbove(line: number): string[] {
  const comment: string[] = []
  for (let at = line - 2; /^\s*#( |$)/.test(lines[at] ?? ''); at--)
    comment.unshift((lines[at] ?? '').replace(/^\s*# ?/, ''))
  return comment
}

function above(path: string): string {
  return path.slice(0, path.lastIndexOf('.')).replace(/\[\]$/, '')
}

function isUnset(line: number): boolean {
  return KEY_LINE.test(lines[line - 1] ?? '')
}

interface Key {
  kind: 'required' | 'unset' | 'section' | 'default'
  /** Reads a value that is there. */
  schema: z.ZodType
  value?: unknown
}

/** Every key that the schema has, and where names of one's own stand. */
function schemaKeys(): { keys: Map<string, Key>; records: Set<string> } {
  const records = new Set<string>()
  const found = new Map<string, Key>()
  const walk = (type: unknown, path: string) => {
    if (type === schema.listener) {
      for (const kind of [schema.tcpListener, schema.unixListener]) walk(kind, path)
    } else if (type === node) {
      for (const kind of [addressNode, dnsNodes, srvNodes]) walk(kind, path)
    } else if (type instanceof z.ZodArray) walk(type.element, `${path}[]`)
    else if (type instanceof z.ZodRecord) {
      records.add(path)
      walk(type.valueType, `${path}.*`)
    } else if (type instanceof z.ZodObject)
      for (const [name, inner] of Object.entries(type.shape)) {
        const key = keyOf(inner)
        const below = path === '' ? name : `${path}.${name}`
        found.set(below, key)
        walk(key.schema, below)
      }
  }
  walk(schema.file, '')
  return { keys: found, records }
}

function keyOf(type: unknown): Key {
  if (type instanceof z.ZodOptional) return { kind: 'unset', schema: typeOf(type.unwrap()) }
  if (type instanceof z.ZodPipe && type.out instanceof z.ZodObject)
    return { kind: 'section', schema: type.out }
  if (type instanceof z.ZodDefault)
    return { kind: 'default', schema: typeOf(type.unwrap()), value: type.def.defaultValue }
  return { kind: 'required', schema: typeOf(type) }
}

function typeOf(type: unknown): z.ZodType {
  if (type instanceof z.ZodType) return type
  throw new Error('not a type of the schema')
}
