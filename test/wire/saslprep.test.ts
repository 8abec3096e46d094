/** Passwords as PostgreSQL stretches them; test/real/scram.test.ts asks PostgreSQL itself. */
import { expect, test } from 'vitest'
import { saslprep } from '../../src/wire/saslprep.ts'

test.each<[string, string, string]>([
  ['ASCII', 'pencil', 'pencil'],
  ['ASCII with controls', 'a\tb\x07', 'a\tb\x07'],
  ['a soft hyphen', 'I\u00adX', 'IX'],
  ['a roman nine', '\u2168', 'IX'],
  ['an ordinal', '\u00aa', 'a'],
  ['a letter in two parts', 'e\u0301', '\u00e9'],
  ['full width', '\uff50\uff57', 'pw'],
  ['a space that is no space', 'a\u00a0b\u3000c', 'a b c'],
  ['a space without width', 'a\u200bb\u00e9', 'a b\u00e9'],
  ['nothing that is left', '\u00ad', '\u00ad'],
  ['a control', '\u2168\u0085', '\u2168\u0085'],
  ['private use', '\u2168\ue000', '\u2168\ue000'],
  ['a mark of direction', '\u2168\u200e', '\u2168\u200e'],
  ['a picture', '\u2168😀', '\u2168😀'],
  ['a picture alone', '😀', '😀'],
])('%s', (_name, password, form) => {
  expect(saslprep(password)).toBe(form)
})
