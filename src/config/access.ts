/**
 * Who may come in, as the file says it: the rules of `access`, and the lists that `access_lists` names.
 * Rule: a list is replaced by a later one alone (SequenceNumber): an old copy that comes back opens nothing.
 */
import { parseDocument } from 'yaml'
import type { AccessRule } from '../policy/access.ts'
import type { AccessLists, Denylist } from '../policy/lists.ts'
import { type Numbered, type ReadList, readAllowlist, readDenylist } from './access_lists.ts'
import { type AccessSection, accessRulesOf } from './access_settings.ts'
import type { Reading } from './nodes.ts'

export interface Access {
  /** Undefined where the file has none: everybody may come then, as far as the lists let them. */
  rules: readonly AccessRule[] | undefined
  allowlist: Numbered<AccessLists['allowed']> | undefined
  denylist: Numbered<Denylist> | undefined
}

export interface AccessSections {
  access?: AccessSection | undefined
  access_lists: { allowlist_file?: string | undefined; denylist_file?: string | undefined }
}

/** @param placeOf - a rule in the file: `postern.yaml:12:5` */
export function readAccess(
  { access, access_lists }: AccessSections,
  reading: Reading,
  placeOf: (path: PropertyKey[]) => string,
  previous: Access | undefined,
): Access {
  const list = <T>(key: keyof typeof access_lists, read: (value: unknown) => ReadList<T>) => {
    const file = access_lists[key]
    const before = previous?.[key === 'allowlist_file' ? 'allowlist' : 'denylist']
    return file === undefined ? undefined : readList(key, file, read, reading, before)
  }
  return {
    rules:
      access &&
      accessRulesOf(
        access,
        access.map((_, at) => placeOf(['access', at])),
      ),
    allowlist: list('allowlist_file', readAllowlist),
    denylist: list('denylist_file', readDenylist),
  }
}

/** @returns undefined after a complaint */
function readList<T>(
  key: string,
  file: string,
  read: (value: unknown) => ReadList<T>,
  { text, complain }: Reading,
  before: Numbered<unknown> | undefined,
): Numbered<T> | undefined {
  const problem = (what: string) => complain(['access_lists', key], `${file}: ${what}`)
  let value: unknown
  try {
    value = readYaml(text(file))
  } catch (thrown) {
    problem((thrown as Error).message)
    return undefined
  }
  const found = read(value)
  if (!found.ok) {
    for (const each of found.problems) problem(each)
    return undefined
  }
  const { sequence } = found.value
  if (before !== undefined && sequence < before.sequence)
    problem(`SequenceNumber ${sequence} is lower than ${before.sequence}, which is in use`)
  return found.value
}

/** Without the parser's words: they quote what stands there. */
function readYaml(text: string): unknown {
  const yaml = parseDocument(text, { prettyErrors: false })
  if (yaml.errors.length > 0) throw new Error('it is not YAML')
  return yaml.toJS()
}
