/** config/examples/: each file is complete as it is pasted, short, and what it says of itself is so. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Inspected, inspectConfig } from '../../src/config/config.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { exampleFiles, exampleNames, exampleText, outsideWith } from '../support/example.ts'

const LINES_MAX = 90
const root = new URL('../../', import.meta.url)

it('there are eight', () => {
  expect(exampleNames).toEqual([
    'azure-managed-identity.yaml',
    'cockroachdb-cloud.yaml',
    'custom-issuer.yaml',
    'eks-service-account.yaml',
    'google-service-account.yaml',
    'keycloak.yaml',
    'kubernetes.yaml',
    'okta.yaml',
  ])
})

it('README.md links each of them, and no other', () => {
  const readme = readFileSync(new URL('README.md', root), 'utf8')
  const linked = [...readme.matchAll(/\]\(config\/examples\/([^)]+)\)/g)].map(([, name]) => name)
  expect(linked.sort()).toEqual(exampleNames)
})

describe.each(exampleNames)('%s', (name) => {
  const text = exampleText(name)
  let files: Record<string, string>
  let inspected: Inspected
  beforeAll(async () => {
    files = await exampleFiles()
    inspected = inspectConfig(`/etc/postern/${name}`, text, outsideWith(files))
  })

  it('has no mistake, and nothing to warn of', () => {
    expect(warningsOf(inspected, outsideWith(files)).map(({ what }) => what)).toEqual([])
  })

  it('lets somebody in: an issuer, an audience, keys, rules', () => {
    const { trust, rules } = inspected.config.clusters[0]
    expect(trust.enabled).toBe(true)
    expect([...trust.keySources.keys()]).toEqual([...trust.issuers])
    expect(rules.audiences.size).toBe(1)
    expect(trust.identityMap.lineCount).toBeGreaterThan(0)
  })

  it('shows a token as it believes it', () => {
    const { trust, rules } = inspected.config.clusters[0]
    const shown = comment(text)
    for (const issuer of trust.issuers) expect(shown).toContain(`{"iss": "${issuer}"`)
    for (const audience of rules.audiences)
      expect(
        [`"aud": "${audience}"`, `"aud": ["${audience}"`].some((aud) => shown.includes(aud)),
      ).toBe(true)
    expect(shown).toContain(`"${trust.claim === '' ? 'sub' : trust.claim}": "`)
  })

  it('says how to connect, with verification', () => {
    expect(comment(text)).toMatch(/ psql "postgresql:\/\/\w+@[^"]*\?sslmode=verify-full&[^"]*"$/m)
  })

  it('is short', () => {
    expect(text.split('\n').length).toBeLessThanOrEqual(LINES_MAX)
  })
})

function comment(text: string): string {
  return [...text.matchAll(/^# ?(.*)$/gm)].map(([, line]) => line).join('\n')
}
