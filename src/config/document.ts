/**
 * The configuration file as text with positions: YAML 1.2, in which `${env:NAME}` stands for an
 * environment variable and `{file: path}` for a file's text. Reading has no side effects.
 * Rule: every mistake is `file:line:col: what is wrong`, and all of them are told at once.
 */
import { dirname, resolve } from 'node:path'
import {
  isMap,
  isNode,
  isScalar,
  LineCounter,
  parseDocument,
  visit,
  type Document as YamlDocument,
} from 'yaml'

export interface Outside {
  env(name: string): string | undefined
  /** @throws an Error whose message says why it can't be read. */
  readFile(path: string): string
}

export interface ConfigDocument {
  value: unknown
  /** What is wrong with the text itself, before anybody looks at the keys. */
  mistakes: string[]
  /** `file:line:col` of a value, or of the closest thing above it that is there. */
  at(path: PropertyKey[], key?: boolean): string
  /** A path that stands in the file is relative to it. */
  resolve(path: string): string
}

export function readDocument(name: string, text: string, outside: Outside): ConfigDocument {
  const lines = new LineCounter()
  const yaml = parseDocument(text, { lineCounter: lines, version: '1.2', prettyErrors: false })
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  const mistakes = yaml.errors.map(({ pos, message }) => `${place(pos[0])}: ${message}`)
  const toFile = (path: string) => resolve(dirname(name), path)
  if (mistakes.length === 0)
    substitute(yaml, outside, toFile, (offset, what) => mistakes.push(`${place(offset)}: ${what}`))
  return {
    value: mistakes.length === 0 ? yaml.toJS() : undefined,
    mistakes,
    at: (path, key = false) => place(offsetOf(yaml, path, key)),
    resolve: toFile,
  }
}

/** Puts files and environment variables in their places. */
function substitute(
  yaml: YamlDocument,
  outside: Outside,
  toFile: (path: string) => string,
  complain: (offset: number, what: string) => void,
): void {
  visit(yaml, {
    Map(_key, map) {
      const [only] = map.items
      if (map.items.length !== 1 || !isScalar(only?.key) || only.key.value !== 'file')
        return undefined
      const path = isScalar(only.value) ? only.value.value : undefined
      if (typeof path !== 'string') return undefined
      try {
        const scalar = yaml.createNode(outside.readFile(toFile(path)))
        scalar.range = map.range ?? null
        return scalar
      } catch (thrown) {
        complain(map.range?.[0] ?? 0, `cannot read ${path}: ${(thrown as Error).message}`)
        return undefined
      }
    },
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
  return 0
}
