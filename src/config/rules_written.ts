/** The access rules of a configuration as they stand in its file, for whoever wants to see them. */
import { readDocument } from './document.ts'
import { outsideOf, type Source } from './source.ts'

/** @returns the conditions of each rule, in JSON and in the file's order. */
export function rulesAsWritten(source: Source, now: () => number): string[] {
  const { value } = readDocument(source.name, source.text, outsideOf(source, now))
  const { access } = (value ?? {}) as { access?: unknown }
  if (!Array.isArray(access)) return []
  return access.map((rule: Record<string, unknown>) => {
    const { action: _, ...conditions } = rule
    return JSON.stringify(conditions)
  })
}
