/**
 * What a configuration is made of: the file's text, and whatever was read on the way. With it the same
 * configuration can be made in another process, though the files have changed since.
 * Rule: it holds keys; it goes nowhere but to a process of this gate.
 */
import type { Outside, Settings } from './document.ts'

export interface Source {
  name: string
  text: string
  env: ReadonlyMap<string, string | undefined>
  files: ReadonlyMap<string, { text: string } | { problem: string }>
  modes: ReadonlyMap<string, number>
  /** What was set for all gates, by name. */
  settings?: Settings | undefined
}

/** Notes what is asked of the outside, until `done`. */
export function noteOutside(name: string, text: string, outside: Outside) {
  const source = {
    name,
    text,
    env: new Map(),
    files: new Map(),
    modes: new Map(),
    settings: outside.settings,
  }
  let over = false
  const noting: Outside = {
    ...outside,
    env(variable) {
      const value = outside.env(variable)
      source.env.set(variable, value)
      return value
    },
    readFile(path) {
      // What is read later on is read anew each time.
      if (over) return outside.readFile(path)
      try {
        const text = outside.readFile(path)
        source.files.set(path, { text })
        return text
      } catch (thrown) {
        source.files.set(path, { problem: (thrown as Error).message })
        throw thrown
      }
    },
    fileMode(path) {
      const mode = outside.fileMode(path)
      source.modes.set(path, mode)
      return mode
    },
  }
  return {
    outside: noting,
    done(): Source {
      over = true
      return source
    },
  }
}

/** The outside as it was when the source was noted. */
export function outsideOf({ env, files, modes, settings }: Source, now: () => number): Outside {
  return {
    now,
    settings,
    env: (variable) => env.get(variable),
    readFile(path) {
      const file = files.get(path) ?? { problem: 'it was not there when the file was read' }
      if ('text' in file) return file.text
      throw new Error(file.problem)
    },
    fileMode: (path) => modes.get(path) ?? 0,
  }
}
