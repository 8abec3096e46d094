/** The Dockerfile as a linter sees it: https://github.com/rcjsuen/dockerfile-utils */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { validate } from 'dockerfile-utils'
import { expect, it } from 'vitest'
import { ROOT } from '../support/tools.ts'

it('the Dockerfile has nothing to complain of', () => {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  expect(validate(text).map(({ message, range }) => [range.start.line + 1, message])).toEqual([])
})

it('a mistake would be seen', () => {
  expect(validate('FROM node\nCOPPY . .\n').map(({ message }) => message)).toEqual([
    'Unknown instruction: COPPY',
  ])
})
