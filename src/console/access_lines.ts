/**
 * Who may come in, line by line: the rules of the file as they stand there, its lists, and the entries that
 * gates share.
 */
import { rulesAsWritten } from '../config/rules_written.ts'
import type { ConsoleParts } from './parts.ts'

export interface AccessLine {
  kind: 'rule' | 'allow' | 'deny'
  /** A rule's place in the file; of a list, whom the entry is about. */
  name: string
  action: string
  /** Of a rule, in JSON. */
  conditions: string
  untilMs: number | undefined
  reason: string
}

export function accessLines({ config, state, now }: ConsoleParts): AccessLine[] {
  const { access, source } = config()
  const written = rulesAsWritten(source, now)
  const rules = (access.rules ?? []).map(
    ({ name, action }, at): AccessLine => ({
      kind: 'rule',
      name,
      action,
      conditions: written[at] ?? '',
      untilMs: undefined,
      reason: '',
    }),
  )
  const entries = (state?.snapshot().entries ?? []).map(
    ({ list, cluster, item, until, why }): AccessLine => ({
      kind: list,
      name: item,
      action: list,
      conditions: cluster === '' ? '' : JSON.stringify({ cluster }),
      untilMs: until && until * 1000,
      reason: why,
    }),
  )
  return [
    ...rules,
    ...listed('allow', access.files.allowlist_file),
    ...listed('deny', access.files.denylist_file),
    ...entries,
  ]
}

/** The entries of a file are in the file. */
function listed(kind: 'allow' | 'deny', list: { sequence: number } | undefined): AccessLine[] {
  if (list === undefined) return []
  const name = `access_lists.${kind}list_file, SequenceNumber ${list.sequence}`
  return [{ kind, name, action: kind, conditions: '', untilMs: undefined, reason: '' }]
}
