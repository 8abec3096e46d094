/**
 * The configuration file as text with positions: YAML 1.2, in which `${env:NAME}` stands for an
 * environment variable and `{file: path}` for a file's text. Reading has no side effects.
 * Rule: what comes from outside is a value and nothing more: it is not read for either form again.
 */
import { dirname, resolve } from 'node:path'
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  visit,
  type Document as YamlDocument,
} from 'yaml'
import type { Elsewhere } from '../issuers/elsewhere.ts'

export interface Outside {
  env(name: string): string | undefined
  /** @throws an Error whose message says why it can't be read. */
  readFile(path: string): string
  /** The permission bits of a file that can be read. */
  fileMode(path: string): number
  /** Milliseconds since the epoch: certificates are looked at by today. */
  now(): number
  /** Where another process fetches what issuers publish: that process' issuer. */
  elsewhere?(cluster: string, issuer: string): Elsewhere
  /** What was set for all gates; unless told, what it was before. */
  settings?: Settings | undefined
}

/** Settings by their names, as they were written. */
export type Settings = ReadonlyMap<string, string>

/** What is wrong, and where in the text. */
export interface Complaint {
  offset: number
  what: string
}

export interface ConfigDocument {
  /** `undefined` where the text is not YAML. */
  value: unknown
  /** What is wrong with the text itself, before anybody looks at the keys. */
  complaints: Complaint[]
  /** Where a value stands, or the closest thing above it that is there. */
  offset(path: PropertyKey[], key?: boolean): number
  /** `file:line:col` */
  place(offset: number): string
  /** A path that stands in the file is relative to it. */
  resolve(path: string): string
}

export function readDocument(name: string, text: string, outside: Outside): ConfigDocument {
  const lines = new LineCounter()
  const yaml = parseDocument(text, { lineCounter: lines, version: '1.2', prettyErrors: false })
  const complaints: Complaint[] = [...yaml.errors, ...yaml.warnings].map(
    ({ pos, code, message }) => ({
      offset: pos[0],
      what: WHAT_TO_DO.get(code) ?? withoutQuotation(message),
    }),
  )
  const toFile = (path: string) => resolve(dirname(name), path)
  let value: unknown
  if (complaints.length === 0) {
    const complain: Complain = (offset, what) => complaints.push({ offset, what })
    if (!hasOddKey(yaml, complain)) {
      putEnvironment(yaml, outside, complain)
      putFiles(yaml, outside, toFile, complain)
      value = toValue(yaml, complain)
    }
  }
  return {
    value,
    complaints,
    offset: (path, key = false) => offsetOf(yaml, path, key),
    place(offset) {
      const { line, col } = lines.linePos(offset)
      return `${name}:${line}:${col}`
    },
    resolve: toFile,
  }
}

type Complain = (offset: number, what: string) => void

/** For what the parser doesn't say how to mend. */
const WHAT_TO_DO = new Map<string, string>([
  ['DUPLICATE_KEY', 'this key is there already; keep one of them'],
  ['TAB_AS_INDENT', 'a tab is no indentation in YAML; write spaces'],
  ['MULTIPLE_DOCS', 'a second document begins here; keep one'],
  ['BAD_DQ_ESCAPE', 'no escape that YAML has; write \\\\ for a backslash'],
  ['TAG_RESOLVE_FAILED', 'a tag that means nothing here; put text that begins with ! in quotes'],
])

/** The parser says behind a colon what stands in the file there, which may be a secret. */
function withoutQuotation(message: string): string {
  return message.replace(/(?<=[\w)]): .*$/s, '')
}

function putEnvironment(yaml: YamlDocument, outside: Outside, complain: Complain): void {
  visit(yaml, {
    Scalar(_key, scalar) {
      if (typeof scalar.value !== 'string') return
      scalar.value = scalar.value.replace(/\$\{env:([^}]*)\}/g, (_whole, name: string) => {
        const value = outside.env(name)
        if (value === undefined)
          complain(scalar.range?.[0] ?? 0, `the environment variable ${name} is not set`)
        return value ?? ''
      })
    },
  })
}

function putFiles(
  yaml: YamlDocument,
  outside: Outside,
  toFile: (path: string) => string,
  complain: Complain,
): void {
  visit(yaml, {
    Map(_key, map) {
      const [only] = map.items
      if (map.items.length !== 1 || !isScalar(only?.key) || only.key.value !== 'file')
        return undefined
      const path = isScalar(only.value) ? only.value.value : undefined
      if (typeof path !== 'string') return undefined
      try {
        // Editors end a file's last line; nobody means the end of it to be in the value.
        const text = outside.readFile(toFile(path)).replace(/\r?\n$/, '')
        const scalar = yaml.createNode(text)
        scalar.range = map.range ?? null
        if (map.anchor !== undefined) scalar.anchor = map.anchor
        return scalar
      } catch (thrown) {
        complain(map.range?.[0] ?? 0, `cannot read ${path}: ${(thrown as Error).message}`)
        return undefined
      }
    },
  })
}

/** Aliases are followed here, as far as their number is that of a file written by hand. */
function toValue(yaml: YamlDocument, complain: Complain): unknown {
  if (hasLostAlias(yaml, complain)) return undefined
  try {
    return yaml.toJS()
  } catch (thrown) {
    complain(0, `its anchors and aliases: ${(thrown as Error).message}`)
    return undefined
  }
}

/** An alias of nothing, which may be a secret, or inside the value that it stands for, which would have no end. */
function hasLostAlias(yaml: YamlDocument, complain: Complain): boolean {
  let found = false
  visit(yaml, {
    Alias(_key, alias, parents) {
      const target = alias.resolve(yaml)
      if (target !== undefined && !parents.includes(target)) return
      found = true
      const what =
        target === undefined
          ? 'no anchor of this name comes before it; put text that begins with * in quotes'
          : `*${alias.source} is inside of what it stands for; write it out`
      complain(alias.range?.[0] ?? 0, what)
    },
  })
  return found
}

/** A key is shown where it is a mistake, and the parser would write what it can't be to stderr by itself. */
function hasOddKey(yaml: YamlDocument, complain: Complain): boolean {
  let found = false
  visit(yaml, {
    Pair(_key, { key }) {
      const named = isAlias(key) ? key.resolve(yaml) : key
      const isText = isScalar(named) && (named.value === null || typeof named.value !== 'object')
      if (!isNode(named) || isText) return
      found = true
      complain(named.range?.[0] ?? 0, 'a key is text, and here it is something else')
    },
  })
  return found
}

function offsetOf(yaml: YamlDocument, path: PropertyKey[], key: boolean): number {
  for (let length = path.length; length > 0; length--) {
    const parent = yaml.getIn(path.slice(0, length - 1), true)
    const last = path[length - 1]
    if (key && isMap(parent)) {
      const pair = parent.items.find((item) => isScalar(item.key) && item.key.value === last)
      if (isScalar(pair?.key) && pair.key.range) return pair.key.range[0]
    }
    const found = yaml.getIn(path.slice(0, length), true)
    if (isNode(found) && found.range) return found.range[0]
  }
  return yaml.contents?.range?.[0] ?? 0
}
