/**
 * Style is a test: sizes, who may import whom, words that have no place here, and documents that
 * say what the tables say. A complaint is `file:line: what, and what to do instead`.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join, normalize } from 'node:path'
import { type Node as AcornNode, parse } from 'acorn'
import { expect, it } from 'vitest'
import { FAILURES, type FailureRow } from '../src/failure.ts'

const FILE_LINES_MAX = 400
const FUNCTION_LINES_MAX = 70
const DEPTH_MAX = 2

interface Source {
  path: string
  text: string
}

const root = new URL('..', import.meta.url).pathname

function files(below: string, ending = '.ts'): Source[] {
  return readdirSync(join(root, below), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

const src = files('src')
const tests = files('test')

/** The imports of a file that stay at run time, and those of types alone. */
function imports({ path, text }: Source): { name: string; typeOnly: boolean }[] {
  return [
    ...text.matchAll(/^(import|export) (type )?[^'"]*?from '([^']+)'|^import '([^']+)'/gm),
  ].map(([, , type, from, bare]) => {
    const name = from ?? bare ?? ''
    const local = name.startsWith('.') ? normalize(join(path, '..', name)) : name
    return { name: local, typeOnly: type !== undefined }
  })
}

/** `src/wire/phase.ts` is in `wire`; `src/failure.ts` is `failure`. */
function part(path: string): string {
  const [, first = '', second] = path.split('/')
  return second === undefined ? first.replace('.ts', '') : first
}

const DOORS = ['sql', 'ops', 'gates', 'cli']
const ROOMS = [
  'wire',
  'identity',
  'issuers',
  'policy',
  'cluster',
  'peers',
  'config',
  'state',
  'answers',
  'console',
  'telemetry',
  'dev',
]
/** The gate and its processes, which put everything together. */
const GATE = [
  'gate',
  'workers',
  'worker_process',
  'worker',
  'clusters',
  'worker_questions',
  'reloading',
  'reading_settings',
  'shared_state',
  'desk',
]
/** What everybody may use: they use nothing but each other, and `leg` the framing of `wire`. */
const GROUND = ['failure', 'failure_answers', 'failure_commands', 'secret', 'leg', 'random']

/** Where each library may be imported. */
const IMPORTERS: Record<string, string[]> = {
  jose: ['identity', 'dev'],
  re2js: ['identity'],
  'pg-protocol': ['wire'],
  yaml: ['config', 'cli'],
  zod: ['config', 'gates'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  fastify: ['ops', 'gates'],
  commander: ['cli'],
  '@peculiar/x509': ['cluster', 'dev'],
  'reflect-metadata': ['cluster', 'dev'],
  'lru-cache': ['cluster', 'gates', 'identity', 'issuers', 'policy', 'sql'],
}

function mayImport(from: string, to: string): boolean {
  if (from === to || from === 'main') return true
  if (GROUND.includes(to)) return true
  if (GROUND.includes(from)) return from === 'leg' && to === 'wire'
  if (from === 'cli') return to !== 'main' && !(DOORS.includes(to) && to !== 'cli')
  if (GATE.includes(from)) return to !== 'main' && to !== 'cli'
  if (DOORS.includes(from)) return ROOMS.includes(to)
  return ROOMS.includes(to)
}

const BANNED: [pattern: RegExp, where: (path: string) => boolean, instead: string][] = [
  [
    /\bconsole\.(?!ts\b|admins|clusters|database|may_change_trust)/,
    () => true,
    "the world's stdout, or the log",
  ],
  [/\bprocess\./, (path) => path !== 'src/main.ts', 'what main.ts hands out'],
  [/\bDate\.now\b|new Date\(\)/, (path) => path !== 'src/main.ts', 'a clock that is an argument'],
  [/\bMath\.random\b/, () => true, 'randomBytes'],
  [/\bas any\b|: any\b|@ts-|biome-ignore/, () => true, 'a narrower type'],
  [/\b(?:TODO|FIXME|XXX)\b/, () => true, 'doing it, or an issue'],
  [/^export default/m, () => true, 'a named export'],
  [
    /'(?:[0-9][0-9A-Z]{4}|[A-Z][0-9]{4})'/,
    (path) => !/src\/(failure|dev\/)/.test(path),
    'a row of failure.ts',
  ],
]

it('keeps files short', () => {
  const long = [...src, ...tests].filter(({ path, text }) => {
    const limit = path.startsWith('src') ? FILE_LINES_MAX : 700
    return text.split('\n').length > limit
  })
  expect(long.map(({ path }) => path)).toEqual([])
})

it('keeps functions short', () => {
  expect(src.flatMap(longFunctions)).toEqual([])
})

it('keeps folders one level deep', () => {
  expect(
    src.map(({ path }) => path).filter((path) => path.split('/').length > DEPTH_MAX + 1),
  ).toEqual([])
})

it('lets doors use rooms, and rooms use rooms, and nobody the other way', () => {
  const wrong = src.flatMap((source) =>
    imports(source)
      .filter(({ name }) => name.startsWith('src/') && !mayImport(part(source.path), part(name)))
      .map(({ name }) => `${source.path} imports ${name}`),
  )
  expect(wrong).toEqual([])
})

it('imports each library in its own room alone', () => {
  const wrong = src.flatMap((source) =>
    imports(source)
      .filter(({ name }) => !name.startsWith('src/') && !name.startsWith('node:'))
      .filter(({ name }) => {
        const library = Object.keys(IMPORTERS).find(
          (each) => name === each || name.startsWith(`${each}/`),
        )
        return library === undefined || !IMPORTERS[library]?.includes(part(source.path))
      })
      .map(({ name }) => `${source.path} imports ${name}`),
  )
  expect(wrong).toEqual([])
})

it('has no cycles, neither of files nor of rooms', () => {
  const graph = new Map(
    src.map((source) => [
      source.path,
      imports(source)
        .filter(({ name, typeOnly }) => name.startsWith('src/') && !typeOnly)
        .map(({ name }) => name),
    ]),
  )
  expect(cycles(graph)).toEqual([])
})

it.each(BANNED)('says %s nowhere', (pattern, where, instead) => {
  const found = src
    .filter(({ path }) => where(path))
    .flatMap(({ path, text }) =>
      text
        .split('\n')
        .flatMap((line, index) =>
          pattern.test(line) && !/^\s*(?:\*|\/\/|\/\*)/.test(line)
            ? [`${path}:${index + 1}: ${line.trim()}: use ${instead}`]
            : [],
        ),
    )
  expect(found).toEqual([])
})

it('skips no test but where a tool is missing', () => {
  const found = tests
    .filter(({ path }) => !['test/tidy.test.ts', 'test/support/tools.ts'].includes(path))
    .filter(({ text }) => /\b(?:it|test|describe)\.(?:only|skip|todo)\b/.test(text))
  expect(found.map(({ path }) => path)).toEqual([])
})

it('opens every file with its idea', () => {
  const mute = src.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text))
  expect(mute.map(({ path }) => path)).toEqual([])
})

it('documents every failure as the table has it', () => {
  const text = readFileSync(join(root, 'docs/failures.md'), 'utf8')
  const documented = [...text.matchAll(/^\| `(\w+)` \| `(\w+)` \| (.*?) \|/gm)].map(
    ([, code, sqlstate, say]) => [code, sqlstate, say],
  )
  const rows: [string, FailureRow][] = Object.entries(FAILURES)
  expect(documented).toEqual(rows.map(([code, { sqlstate, say }]) => [code, sqlstate, say]))
})

it('shows each promise of SECURITY.md by a test that is there', () => {
  const text = readFileSync(join(root, 'SECURITY.md'), 'utf8')
  const promises = [...text.matchAll(/^\| [^|]+ \| (`test\/.*) \|$/gm)].map(
    ([, shown]) => shown ?? '',
  )
  expect(promises.length).toBeGreaterThan(20)
  const missing = promises
    .flatMap((shown) => shown.split('; '))
    .flatMap((shown) => {
      const [path = '', ...titles] = [...shown.matchAll(/`([^`]+)`/g)].map(
        ([, quoted]) => quoted ?? '',
      )
      const found =
        [...tests, ...files('test', '.ts')].find((test) => test.path === path)?.text ?? ''
      return titles.length === 0 ? [shown] : titles.filter((title) => !found.includes(title))
    })
  expect(missing).toEqual([])
})

it('produces every failure in a test', () => {
  const text = tests
    .filter(({ path }) => path !== 'test/tidy.test.ts')
    .map((test) => test.text)
    .join('\n')
  const rows: [string, FailureRow][] = Object.entries(FAILURES)
  const missing = rows.filter(([code, { say }]) => {
    const fixed = say.split(/\{\w+\}/).reduce((a, b) => (b.length > a.length ? b : a))
    return (
      !text.includes(`'${code}'`) &&
      !text.includes(`FAILURES.${code}`) &&
      !(fixed.length > 3 && text.includes(fixed.trim()))
    )
  })
  expect(missing.map(([code]) => code)).toEqual([])
})

function longFunctions({ path, text }: Source): string[] {
  const script = stripTypeScriptTypes(text).replace(/^#!.*/, '')
  const tree = parse(script, { ecmaVersion: 'latest', sourceType: 'module', locations: true })
  const found: string[] = []
  const visit = (node: unknown) => {
    if (Array.isArray(node)) return node.forEach(visit)
    if (typeof node !== 'object' || node === null || !('type' in node)) return
    const { type, loc } = node as AcornNode
    if (/Function/.test(String(type)) && loc) {
      const lines = loc.end.line - loc.start.line + 1
      if (lines > FUNCTION_LINES_MAX)
        found.push(`${path}:${loc.start.line}: a function of ${lines} lines`)
    }
    Object.values(node).forEach(visit)
  }
  visit(tree)
  return found
}

function cycles(graph: Map<string, string[]>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (path: string, trail: string[]) => {
    if (trail.includes(path)) found.push([...trail.slice(trail.indexOf(path)), path].join(' -> '))
    else if (!done.has(path)) {
      for (const next of graph.get(path) ?? []) walk(next, [...trail, path])
      done.add(path)
    }
  }
  for (const path of graph.keys()) walk(path, [])
  return found
}
