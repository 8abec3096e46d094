/**
 * Who may come in, as the file says it: the rules of `access`, and the lists that `access_lists` names.
 * Rule: a list is replaced by a later one alone (SequenceNumber): an old copy that comes back opens nothing.
 */
import { createHash } from 'node:crypto'
import { isNode, LineCounter, parseDocument, type Document as YamlDocument } from 'yaml'
import type { AccessRule } from '../policy/access.ts'
import { type AccessEntry, type AccessLists, openAccessLists } from '../policy/lists.ts'
import { type FileList, type ReadList, readAllowlist, readDenylist } from './access_lists.ts'
import { type AccessSection, accessRulesOf } from './access_settings.ts'
import { shown } from './mistakes.ts'
import type { Reading } from './nodes.ts'

export interface Access {
  /** Undefined where the file has none: everybody may come then, as far as the lists let them. */
  rules: readonly AccessRule[] | undefined
  /** Those of the files. */
  lists: AccessLists
  files: Partial<Record<ListKey, ListFile>>
  /** What is said of clusters that there are not. */
  strays: readonly { path: PropertyKey[]; what: string }[]
}

export interface AccessSections {
  access?: AccessSection | undefined
  access_lists: Partial<Record<ListKey, string | undefined>>
  clusters: Record<string, unknown>
}

type ListKey = 'allowlist_file' | 'denylist_file'

interface ListFile {
  path: string
  /** Of its text, and of the clusters that there were. */
  print: string
  /** By which a later one is known. */
  sequence: number
  entries: readonly AccessEntry[]
  strays: readonly string[]
}

const READERS: Record<ListKey, (value: unknown) => ReadList> = {
  allowlist_file: readAllowlist,
  denylist_file: readDenylist,
}

/** @param placeOf - a rule in the file: `postern.yaml:12:5` */
export function readAccess(
  { access, access_lists, clusters }: AccessSections,
  reading: Reading,
  placeOf: (path: PropertyKey[]) => string,
  previous: Access | undefined,
): Access {
  const read = (key: ListKey) => {
    const file = access_lists[key]
    return file === undefined ? undefined : readList(key, file, clusters, reading, previous)
  }
  const places = access?.map((_, at) => placeOf(['access', at])) ?? []
  const rules = access && accessRulesOf(access, places)
  const [allowlist_file, denylist_file] = [read('allowlist_file'), read('denylist_file')]
  const files = {
    ...(allowlist_file && { allowlist_file }),
    ...(denylist_file && { denylist_file }),
  }
  return { rules, files, lists: listsOf(files, previous), strays: straysOf(files) }
}

/** Those that there are, where nothing of them has changed. */
function listsOf(files: Access['files'], previous: Access | undefined): AccessLists {
  const { allowlist_file, denylist_file } = files
  const isSame = (['allowlist_file', 'denylist_file'] as const).every(
    (key) => previous?.files[key] === files[key],
  )
  if (previous !== undefined && isSame) return previous.lists
  return openAccessLists([...(allowlist_file?.entries ?? []), ...(denylist_file?.entries ?? [])])
}

function straysOf(files: Access['files']): Access['strays'] {
  return Object.entries(files).flatMap(([key, { strays }]) =>
    strays.map((what) => ({ path: ['access_lists', key], what })),
  )
}

/** @returns undefined after a complaint */
function readList(
  key: ListKey,
  file: string,
  clusters: Record<string, unknown>,
  { text: textOf, resolve, complain }: Reading,
  previous: Access | undefined,
): ListFile | undefined {
  const problem = (what: string) => complain(['access_lists', key], `${file}: ${what}`)
  const path = resolve(file)
  const before = previous?.files[key]
  const lines = new LineCounter()
  let print: string
  let yaml: YamlDocument
  let value: unknown
  try {
    const text = textOf(file)
    print = printOf(text, clusters)
    // Many lines take long to be read.
    if (before?.path === path && before.print === print) return before
    yaml = readYaml(text, lines)
    // Nothing in it can then be inside of itself.
    value = yaml.toJS({ maxAliasCount: 0 })
  } catch (thrown) {
    problem((thrown as Error).message)
    return undefined
  }
  const found = READERS[key](value)
  if (!found.ok) {
    for (const each of found.problems) problem(each)
    return undefined
  }
  const { sequence, entries } = found.value
  if (before?.path === path && sequence < before.sequence)
    problem(`SequenceNumber ${sequence} is lower than ${before.sequence}, which is in use`)
  const placeOf = (at: PropertyKey[]) => {
    const node = yaml.getIn(at, true)
    const range = isNode(node) ? node.range : undefined
    return range ? `${file}:${lines.linePos(range[0]).line}` : file
  }
  return { path, print, sequence, entries, strays: straysIn(found.value, clusters, placeOf) }
}

function printOf(text: string, clusters: Record<string, unknown>): string {
  return createHash('sha256')
    .update(JSON.stringify(Object.keys(clusters)))
    .update(text)
    .digest('hex')
}

/** Without the parser's words: they quote what stands there. */
function readYaml(text: string, lineCounter: LineCounter): YamlDocument {
  const yaml = parseDocument(text, { prettyErrors: false, logLevel: 'silent', lineCounter })
  if (yaml.errors.length > 0) throw new Error('it is not YAML')
  return yaml
}

const STRAYS_MAX = 10

/** Each cluster once. */
function straysIn(
  { named }: FileList,
  clusters: Record<string, unknown>,
  placeOf: (path: PropertyKey[]) => string,
): string[] {
  const first = new Map<string, PropertyKey[]>()
  for (const { cluster, path } of named)
    if (!Object.hasOwn(clusters, cluster) && !first.has(cluster)) first.set(cluster, path)
  return [...first]
    .slice(0, STRAYS_MAX)
    .map(
      ([cluster, path]) =>
        `${placeOf(path)}: there is no cluster ${shown(cluster)}: this is about nobody`,
    )
}
