/**
 * Metrics that are not counted, but asked for each time that somebody looks: issuers' keys, certificates, the
 * shared state, the throttle.
 */
import { Gauge, type Registry } from 'prom-client'
import type { CertificateEnd } from '../config/certificates.ts'
import type { IssuerStatus } from '../issuers/issuer.ts'
import type { StateView } from '../state/snapshot.ts'

/** Set when somebody looks. The labels are of the configuration. */
export function ofCertificates(registry: Registry, ends: () => readonly CertificateEnd[]): void {
  new Gauge({
    name: 'postern_certificate_end_timestamp_seconds',
    help: 'When the first certificate of a key of the configuration ends, or the last where any will do.',
    labelNames: ['key', 'file'],
    registers: [registry],
    collect() {
      this.reset()
      for (const { key, file, endsMs } of ends()) this.set({ key, file }, endsMs / 1000)
    },
  })
}

/** One number, asked for when somebody looks. */
function gauge(registry: Registry, name: string, help: string, value: () => number): void {
  const registers = [registry]
  new Gauge({
    name,
    help,
    registers,
    collect() {
      this.set(value())
    },
  })
}

export function ofThrottle(registry: Registry, remembered: () => number): void {
  const help = 'Users at addresses, and addresses as a whole, whose failed logins are remembered.'
  gauge(registry, 'postern_throttle_entries', help, remembered)
}

/** Where gates share a state. */
export function ofState(registry: Registry, { snapshot, ageMs }: StateView): void {
  const revocations = () => snapshot().revocations.length
  gauge(registry, 'postern_revocations', 'Revocations in the shared state.', revocations)
  const entries = () => snapshot().entries.length
  gauge(registry, 'postern_access_entries', 'Entries of lists in the shared state.', entries)
  const help =
    'Since the shared state was last heard of; beyond state.max_age nobody new is let in.'
  gauge(registry, 'postern_state_age_seconds', help, () => ageMs() / 1000)
}

/** Set when somebody looks. The label is an issuer of the configuration, never a token's. */
export function ofIssuers(registry: Registry, statuses: () => readonly IssuerStatus[]): void {
  const shown = (
    name: string,
    help: string,
    of: (status: IssuerStatus) => number | undefined,
  ): void => {
    new Gauge({
      name,
      help,
      labelNames: ['issuer'],
      registers: [registry],
      collect() {
        this.reset()
        for (const status of statuses()) {
          const value = of(status)
          if (value !== undefined) this.set({ issuer: status.issuer }, value)
        }
      },
    })
  }
  const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000)
  shown('postern_issuer_keys', 'Keys of an issuer that are kept.', ({ keys }) => keys)
  shown(
    'postern_issuer_keys_fetched_timestamp_seconds',
    'When the kept keys were fetched; their age is the time since.',
    ({ fetchedMs }) => seconds(fetchedMs),
  )
  shown(
    'postern_issuer_keys_fresh_until_timestamp_seconds',
    'When the kept keys are stale, as the issuer said.',
    ({ freshUntilMs }) => seconds(freshUntilMs),
  )
  shown(
    'postern_issuer_last_fetch_timestamp_seconds',
    'When a document of the issuer was last asked for, with or without success.',
    ({ lastFetchMs }) => seconds(lastFetchMs),
  )
  shown(
    'postern_issuer_last_fetch_failed',
    '1 while the last fetch of an issuer had no success; the log says why.',
    ({ lastError }) => (lastError === undefined ? 0 : 1),
  )
  shown(
    'postern_issuer_fetches',
    'Fetches of an issuer that had success since the gate was opened.',
    ({ fetches }) => fetches.ok,
  )
  shown(
    'postern_issuer_fetches_failed',
    'Fetches of an issuer that had none since the gate was opened.',
    ({ fetches }) => fetches.failed,
  )
}
