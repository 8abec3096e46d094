/** A web site that points its own name to the gate gets no page. */
import { expect, it } from 'vitest'
import { isKnownHost } from '../../src/ops/host.ts'

const NAMES = ['gate.example.com', '0.0.0.0']

it.each<[string | undefined, boolean]>([
  ['localhost', true],
  ['LocalHost:8080', true],
  ['127.0.0.1:8080', true],
  ['10.1.2.3', true],
  ['[::1]:8080', true],
  ['[fe80::1]', true],
  ['gate.example.com', true],
  ['Gate.Example.COM:8080', true],
  [undefined, false],
  ['', false],
  ['evil.example', false],
  ['evil.example:8080', false],
  ['localhost.evil.example', false],
  ['127.0.0.1.evil.example', false],
  ['evil.example:80:80', false],
  ['gate.example.com@evil.example', false],
  ['gate.example.com.', false],
  ['[evil.example]', false],
  ['[127.0.0.1]', false],
  ['::1', false],
  ['127.0.0.1:', false],
  ['127.0.0.1:8080x', false],
  ['2130706433', false],
  ['localhost,evil.example', false],
])('%s: %s', (header, known) => {
  expect(isKnownHost(header, NAMES)).toBe(known)
})
