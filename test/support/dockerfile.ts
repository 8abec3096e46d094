/**
 * A Dockerfile as its instructions, stage by stage, and its steps done by hand where there is no container
 * engine: a directory stands for each stage's root. https://docs.docker.com/reference/dockerfile/
 */
import { cp, mkdir, realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { expect } from 'vitest'
import { makeDirectory, run } from './tools.ts'

export interface Instruction {
  name: string
  /** What follows it on the line. */
  rest: string
}

export interface Stage {
  from: string
  as: string
  instructions: Instruction[]
}

export function readStages(text: string): Stage[] {
  const lines = text
    .replace(/^\s*#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
  const stages: Stage[] = []
  for (const line of lines) {
    const [, name = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    if (name === 'FROM') {
      const [from = '', , as = ''] = rest.split(' ')
      stages.push({ from, as, instructions: [] })
    } else stages.at(-1)?.instructions.push({ name, rest })
  }
  return stages
}

/** What the last one of its name says. */
export function last(stage: Stage | undefined, name: string): string | undefined {
  return stage?.instructions.findLast((each) => each.name === name)?.rest
}

/** An instruction in exec form. */
export function execForm(rest: string | undefined): string[] {
  const words: unknown = JSON.parse(rest?.slice(rest.indexOf('[')) ?? '')
  expect(words).toEqual(expect.any(Array))
  return words as string[]
}

/**
 * Does WORKDIR, COPY and RUN of each stage, but for `npm ci`: what it made of the same lock file for these
 * tests is taken, by links where that can be.
 * @param context - the directory that is built
 * @returns the root of the last stage
 */
export async function build(
  stages: readonly Stage[],
  context: string,
  env: Record<string, string>,
): Promise<string> {
  const roots = new Map<string, string>()
  let root = ''
  for (const { as, instructions } of stages) {
    root = await makeDirectory()
    roots.set(as, root)
    let directory = root
    for (const { name, rest } of instructions) {
      if (name === 'WORKDIR') {
        directory = join(root, rest)
        await mkdir(directory, { recursive: true })
      }
      if (name === 'COPY') await copy(rest, directory, context, roots)
      if (name === 'RUN') {
        const step = rest.startsWith('npm ci ') ? await installed(context) : rest
        const { code, stderr } = await run('sh', ['-ec', step], { cwd: directory, env })
        expect([rest, code, code === 0 ? '' : stderr]).toEqual([rest, 0, ''])
      }
    }
  }
  return root
}

async function installed(context: string): Promise<string> {
  const from = await realpath(join(context, 'node_modules'))
  return `cp -al '${from}' node_modules 2>/dev/null || { rm -rf node_modules; cp -a '${from}' node_modules; }`
}

async function copy(
  rest: string,
  directory: string,
  context: string,
  roots: ReadonlyMap<string, string>,
): Promise<void> {
  const words = rest.split(' ')
  const [, stage] = /^--from=(.*)$/.exec(words[0] ?? '') ?? []
  const from = stage === undefined ? context : roots.get(stage)
  const paths = stage === undefined ? words : words.slice(1)
  const to = paths.at(-1) ?? ''
  for (const path of paths.slice(0, -1)) {
    const source = join(from ?? '', path)
    const isDirectory = (await stat(source)).isDirectory()
    const target = isDirectory || !to.endsWith('/') ? to : join(to, basename(path))
    await cp(source, join(directory, target), { recursive: true, verbatimSymlinks: true })
  }
}
