/** `audit` in the configuration: where the stream goes, its seal, and what is wrong with a value. */
import { beforeAll, describe, expect, it } from 'vitest'
import type { AuditTo } from '../../src/config/audit_settings.ts'
import { FILES, GOOD, good, MODES, makeFiles, parse, told } from '../support/config_text.ts'
import { KEY, KEY_TEXT } from '../support/sealed.ts'

beforeAll(makeFiles)
beforeAll(() => {
  Object.assign(FILES, {
    '/etc/postern/audit.key': `${KEY_TEXT}\n`,
    '/etc/postern/open.key': `${KEY_TEXT}\n`,
    '/etc/postern/short.key': 'too short\n',
  })
  MODES['/etc/postern/open.key'] = 0o640
})

describe('values', () => {
  it.each<[string, AuditTo]>([
    ['', { kind: 'stdout' }],
    ['audit: {to: stdout}', { kind: 'stdout' }],
    ['audit: {to: logs/audit.log}', { kind: 'file', path: '/etc/postern/logs/audit.log' }],
    ['audit: {to: /var/log/syslog}', { kind: 'file', path: '/var/log/syslog' }],
    ['audit: {to: syslog.log}', { kind: 'file', path: '/etc/postern/syslog.log' }],
    [
      'audit: {to: "syslog+tcp://127.0.0.1:601"}',
      { kind: 'syslog', host: '127.0.0.1', port: 601, tls: undefined },
    ],
    [
      'audit: {to: "syslog+tls://[::1]:6514"}',
      { kind: 'syslog', host: '::1', port: 6514, tls: { ca: undefined } },
    ],
  ])('%s', (text, to) => {
    expect(parse(good(text)).audit).toEqual({
      to,
      required: false,
      seal: undefined,
      anchor: undefined,
    })
  })

  it('the CAs of a syslog server', () => {
    const { to } = parse(
      good('audit: {to: "syslog+tls://logs:6514", syslog_ca_file: ca.crt}'),
    ).audit
    expect(to).toMatchObject({ tls: { ca: FILES['/etc/postern/ca.crt'] } })
  })

  it('a seal, and where its heads go', () => {
    const text =
      'audit: {to: a.log, required: true, seal: {key_file: audit.key}, anchor: /mnt/heads}'
    const { required, seal, anchor } = parse(good(text)).audit
    expect([required, seal?.id, anchor]).toEqual([true, KEY.id, '/mnt/heads'])
    expect(JSON.stringify(parse(good(text)).audit)).not.toContain(KEY_TEXT)
  })
})

describe('mistakes', () => {
  const NO_SYSLOG = 'no syslog server; write syslog+tls://host:6514 or syslog+tcp://host:601'
  it.each([
    ['audit: {to: "syslog://logs:514"}', `9:13: "syslog://logs:514" is ${NO_SYSLOG}`],
    ['audit: {to: "syslog+udp://logs:514"}', `9:13: "syslog+udp://logs:514" is ${NO_SYSLOG}`],
    ['audit: {to: "syslog+tls://logs"}', `9:13: "syslog+tls://logs" is ${NO_SYSLOG}`],
    ['audit: {to: "syslog+tls://logs:0"}', `9:13: "syslog+tls://logs:0" is ${NO_SYSLOG}`],
    [
      'audit: {required: true}',
      '9:19: who reads stdout may lose what it has read; write a file, or a syslog server, in audit.to',
    ],
    ['audit: {required: 1}', '9:19: write true or false, not 1'],
    ['audit: {seal: {}}', '9:15: "key_file" is required'],
    [
      'audit: {seal: {key_file: open.key}}',
      '9:26: open.key can be read by others; chmod 0600 open.key',
    ],
    [
      'audit: {seal: {key_file: short.key}}',
      '9:26: short.key is no key; write one line of at least 32 characters: openssl rand -hex 32 > short.key',
    ],
    [
      'audit: {seal: {key_file: none.key}}',
      "9:26: cannot read none.key: ENOENT: no such file or directory, open '/etc/postern/none.key'",
    ],
    ['audit: {anchor: heads}', '9:17: what is kept here is of a seal; write seal: {key_file}, too'],
    [
      'audit: {to: a.log, seal: {key_file: audit.key}, anchor: a.log}',
      '9:57: this is the audit stream itself; write another file',
    ],
    [
      'audit: {to: "syslog+tls://logs:1", syslog_ca_file: text.pem}',
      '9:52: text.pem is not a certificate in PEM (-----BEGIN CERTIFICATE-----)',
    ],
  ])('%s', (text, mistake) => {
    expect(told(good(text))).toEqual([mistake])
  })

  it('are told with those of other keys', () => {
    const text = `audit: {seal: {key_file: open.key}}\n${GOOD.replace('kind: postgresql', 'kind: oracle')}`
    expect(told(text)).toHaveLength(2)
  })
})

describe('attribution', () => {
  it('is off unless it is written', () => {
    expect(parse(good('')).clusters[0].attribution).toBe('off')
    expect(parse(good('    attribution: application_name')).clusters[0].attribution).toBe(
      'application_name',
    )
  })

  it.each([
    ['    attribution: yes', '9:18: write off or application_name, not "yes"'],
    [
      '    attribution: application_name\n    pool: {mode: session, share_between_principals: true}',
      "9:18: with pool.share_between_principals a session is nobody's own, and can't say whose it is: write off",
    ],
  ])('%s', (text, mistake) => {
    expect(told(good(text))).toEqual([mistake])
  })
})
