/** docs/console.md is what people read: each view, column by column with its type, as SHOW has it. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { VIEWS } from '../../src/console/grammar.ts'
import { HELP } from '../../src/console/help.ts'
import { SOURCES } from '../../src/console/shows.ts'

const text = readFileSync(new URL('../../docs/console.md', import.meta.url), 'utf8')

it.each(VIEWS.filter((view) => view !== 'CLUSTER SETTING'))('SHOW %s', (view) => {
  const [, section = ''] = text.split(`### SHOW ${view}\n`)
  const [table = ''] = section.split('\n#')
  const columns = [...table.matchAll(/^\| `(\w+)` \| (\w+) \| /gm)].map(([, name, type]) => ({
    name,
    type,
  }))
  expect(columns).toEqual(SOURCES[view].columns)
})

it('has every statement that HELP shows', () => {
  const missing = HELP.rows.filter(([statement]) => !text.includes(String(statement)))
  expect(missing).toEqual([])
})
