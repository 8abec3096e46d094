/** How many processes there are, how they end, and on what they listen: good values, and mistakes. */
import { beforeAll, describe, expect, it } from 'vitest'
import { parseConfig } from '../../src/config/config.ts'
import { outsideOf } from '../../src/config/source.ts'
import { FILES, GOOD, good, makeFiles, parse, told } from '../support/config_text.ts'

beforeAll(makeFiles)
const OF_SYSTEMD = GOOD.replace('127.0.0.1:26257', 'fd:3')

describe('values', () => {
  it.each<[string, number | 'auto']>([
    ['', 1],
    ['workers: 4', 4],
    ['workers: auto', 'auto'],
  ])('%j', (text, workers) => {
    expect(parse(good(text)).workers).toBe(workers)
  })

  it.each<[string, number]>([
    ['', 30_000],
    ['shutdown: {grace: 5m}', 300_000],
    ['shutdown: {grace: 0s}', 0],
  ])('%j', (text, graceMs) => {
    expect(parse(good(text)).shutdown).toEqual({ graceMs })
  })

  it('a socket that somebody else opened', () => {
    expect(parse(OF_SYSTEMD).listeners[0]).toMatchObject({ bind: { fd: 3 } })
  })
})

describe('mistakes', () => {
  it.each([
    ['workers: 0', '9:10: write a number from 1 to 64, or auto'],
    ['workers: 65', '9:10: write a number from 1 to 64, or auto'],
    ['workers: many', '9:10: write a number from 1 to 64, or auto'],
    [
      'shutdown: {grace: soon}',
      '9:19: "soon" is not a duration; write one like 15s, 1m30s or 500ms',
    ],
    ['shutdown: {wait: 5s}', '9:12: unknown key "wait"'],
  ])('%s', (text, mistake) => {
    expect(told(good(text))).toEqual([expect.stringContaining(mistake)])
  })

  it('a socket of somebody else’s, in clear', () => {
    const text = OF_SYSTEMD.replace(/ {4}tls.*\n/, '    allow_plaintext: true\n')
    expect(told(text)).toEqual([
      '3:22: a token must not cross a network in clear: what fd:3 is is not loopback; set tls instead',
    ])
  })
})

describe('what a configuration was made of', () => {
  it('makes it again, though the files are others now', () => {
    const issuers = ['    server.jwt_authentication.audience: {file: audience}']
    const first = parse(good(issuers.join('\n')))
    const { name, text } = first.source
    const before = FILES['/etc/postern/audience'] ?? ''
    FILES['/etc/postern/audience'] = 'another'
    const again = parseConfig(name, text, outsideOf(structuredClone(first.source), Date.now))
    expect(again.clusters[0].rules.audiences).toEqual(new Set([before.trim()]))
    expect(again.clusters[0].fingerprint).toBe(first.clusters[0].fingerprint)
    const other = parse(good(issuers.join('\n'))).clusters[0]
    expect(other.fingerprint).not.toBe(first.clusters[0].fingerprint)
    FILES['/etc/postern/audience'] = before
  })
})
