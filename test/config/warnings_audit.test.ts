/** What is legal and unwise in `audit`. */
import { expect, it } from 'vitest'
import { inspectConfig } from '../../src/config/config.ts'
import { warningsOf } from '../../src/config/warnings.ts'
import { good } from '../support/config_text.ts'
import { KEY_TEXT } from '../support/sealed.ts'

function warned(audit: string): string[] {
  const outside = {
    env: () => undefined,
    fileMode: () => 0o600,
    now: Date.now,
    readFile: () => KEY_TEXT,
  }
  const text = good(audit).replace(/ {2}- address.*\n.*\n/, '  - directory: /run\n')
  const inspected = inspectConfig('/etc/postern.yaml', text, outside)
  return warningsOf(inspected, outside)
    .map(({ what }) => what)
    .filter((what) => !what.startsWith('nobody can sign in'))
}

const SEAL = 'seal: {key_file: audit.key}'

it.each<[string, string[]]>([
  ['', []],
  [
    `audit: {to: a.log, ${SEAL}}`,
    [
      'an end that is cut off does not show without heads that are kept elsewhere; write anchor, or state',
    ],
  ],
  [`audit: {to: a.log, ${SEAL}, anchor: heads}`, []],
  [`audit: {to: a.log, ${SEAL}}\nstate: {cluster: main}`, []],
  ['audit: {to: "syslog+tcp://127.0.0.1:601"}', []],
  ['audit: {to: "syslog+tls://logs.internal:6514"}', []],
  [
    'audit: {to: "syslog+tcp://logs.internal:601"}',
    ['who signs in crosses the network in clear; write syslog+tls://logs.internal:6514'],
  ],
])('%s', (audit, warnings) => {
  expect(warned(audit)).toEqual(warnings)
})
