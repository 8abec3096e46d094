/** What is found, within a bound: what is not listed is counted, and what is about no line is always there. */
import { expect, it } from 'vitest'
import { openBook } from '../../src/telemetry/verify_book.ts'

it('counts what it doesn’t list, and lists first what is about all of it', () => {
  const book = openBook()
  for (let line = 1; line <= 1_003; line++) {
    book.note({ file: 'a', line }, 'torn')
    book.find('changed', { file: 'a', line }, 'changed')
  }
  book.note(undefined, 'no head')
  const { findings, more, notes, moreNotes } = book.done()
  expect([findings.length, more, notes.length, moreNotes]).toEqual([1_000, 3, 1_001, 3])
  expect(notes.slice(0, 2)).toEqual([
    { place: undefined, says: 'no head' },
    { place: { file: 'a', line: 1 }, says: 'torn' },
  ])
})
