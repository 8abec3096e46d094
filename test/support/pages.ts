/**
 * The pages of docs/ and README.md as a test reads them: their blocks, their links, and what a shell has to
 * do to follow them. docs/README.md says how a block is marked.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { ROOT } from './tools.ts'

export interface Block {
  language: string
  /** Behind the language: `not-run`, `fails`. */
  marks: string[]
  text: string
  line: number
  /** The name in its first line, where it is a file. */
  file: string | undefined
}

export interface Page {
  /** From the top of the tree: `docs/issuers/okta.md`. */
  path: string
  text: string
  blocks: Block[]
  /** Files and pages of the tree, with what stands behind a `#`. */
  links: { path: string; anchor: string }[]
  /** Each heading, as links name it. */
  anchors: Set<string>
}

const FENCE = /^```(\w*)((?: [\w-]+)*)\n([\s\S]*?)^```$/gm
const FILE = /^(?:#|\/\/) ([\w.-]+\.(?:yaml|cfg|mjs|py|java))\n/i

export function readPages(): Page[] {
  const below = readdirSync(join(ROOT, 'docs'), { recursive: true }) as string[]
  const paths = below.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
  return ['README.md', ...paths.sort()].map(readPage)
}

function readPage(path: string): Page {
  const text = readFileSync(join(ROOT, path), 'utf8')
  const prose = text.replace(FENCE, '').replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]]/g, ''))
  return {
    path,
    text,
    blocks: [...text.matchAll(FENCE)].map(([, language = '', marks = '', body = ''], at) => ({
      language,
      marks: marks.trim().split(' ').filter(Boolean),
      text: body,
      line: lineOf(text, at),
      file: FILE.exec(body)?.[1],
    })),
    links: [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, to = '']) => {
      if (/^https?:/.test(to)) return []
      const [name = '', anchor = ''] = to.split('#')
      return [{ path: name === '' ? path : normalize(join(dirname(path), name)), anchor }]
    }),
    anchors: new Set([...prose.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => anchorOf(title))),
  }
}

function lineOf(text: string, at: number): number {
  const [found] = [...text.matchAll(FENCE)].slice(at, at + 1)
  return text.slice(0, found?.index ?? 0).split('\n').length
}

/** As the forge makes it of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}

/** Whether a shell has anything to do there. */
export function isRun({ language, marks }: Block): boolean {
  return language === 'sh' && !marks.includes('not-run')
}

/** What a shell does to follow a page: its files and its commands, from first to last. */
export function scriptOf({ path, blocks }: Page): string {
  const steps = blocks
    .filter((block) => !block.marks.includes('not-run'))
    .flatMap((block) => {
      const says = `printf '%s\\n' '== ${path}:${block.line}' >&2\n`
      if (block.file !== undefined)
        return [`cat > '${block.file}' <<'END OF THE FILE'\n${block.text}END OF THE FILE\n`]
      if (!isRun(block)) return []
      if (!block.marks.includes('fails')) return [says + block.text]
      return [`${says}if (\n${block.text}) then echo 'it did not fail' >&2; exit 1; fi\n`]
    })
  return ['set -eu\n', ...steps].join('')
}
