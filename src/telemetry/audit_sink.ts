/** Where the audit stream goes, as the configuration says it: standard output, a file, a syslog server. */
import type { AuditTo } from '../config/audit_settings.ts'
import { type AuditSink, openAuditStream } from './audit_file.ts'
import { openSyslog, type SyslogParts } from './syslog.ts'

/** @throws Failure `cannot_write` */
export function openAuditSink(to: AuditTo, parts: SyslogParts): AuditSink {
  if (to.kind === 'syslog') return openSyslog(to, parts)
  return openAuditStream(to.kind === 'stdout' ? 'stdout' : to.path)
}
