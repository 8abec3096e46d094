/**
 * The parts of the status page: sessions, sign-ins and who was refused, nodes, issuers, certificates, and the
 * shared state. Rule: a state is a word; its colour only says it again.
 */
import type { CertificateEnd } from '../config/certificates.ts'
import type { RefusalCount } from '../telemetry/refusals_kept.ts'
import type { IssuerKeys, NodeStatus, SessionCount, Status } from '../telemetry/status.ts'
import { bars } from './bars.ts'
import { rowOf } from './concerns.ts'
import { type Content, type Html, html } from './html.ts'
import { table } from './table.ts'
import { counted, day, fromNow, moment, number, short, span } from './words.ts'

export interface Section {
  /** Its anchor. */
  id: string
  title: string
  content: Html
}

/** Two columns where there is room for them, and what is too wide for that. */
export interface Sections {
  left: readonly Section[]
  right: readonly Section[]
  below: readonly Section[]
}

export function sections(status: Status): Sections {
  const { atMs } = status
  return {
    left: [
      { id: 'sessions', title: 'Sessions', content: sessions(status) },
      { id: 'nodes', title: 'Nodes', content: nodes(status) },
    ],
    right: [
      { id: 'sign-ins', title: 'Sign-ins', content: signIns(status) },
      { id: 'state', title: 'Shared state', content: shared(status) },
    ],
    below: [
      { id: 'issuers', title: 'Issuers', content: issuers(status.issuers, atMs) },
      { id: 'certificates', title: 'Certificates', content: certificates(status, atMs) },
    ],
  }
}

type Mood = 'good' | 'warn' | 'bad' | 'quiet'

function state(mood: Mood, says: string): Html {
  return html`<span class="state ${mood}">${says}</span>`
}

function sessions({ sessions }: Status): Html {
  return html`${table<SessionCount>({
    caption: 'Signed in now, by cluster and issuer.',
    columns: [
      { name: 'Cluster', kind: 'head', of: ({ cluster }) => cluster },
      { name: 'Issuer', of: ({ issuer, count }) => issuerOf(issuer, count) },
      { name: 'Sessions', kind: 'number', of: ({ count }) => number(count) },
    ],
    rows: sessions,
    none: 'There is no cluster.',
  })}
<p class="note">Who they are is not on this page, which asks nobody for a password. The gate’s console has each of
them: <code>SHOW SESSIONS</code>.</p>`
}

function issuerOf(issuer: string, count: number): Content {
  if (issuer !== '') return html`<span class="name">${issuer}</span>`
  return html`<span class="quiet">${count === 0 ? 'nobody' : 'without a token'}</span>`
}

function signIns(status: Status): Html {
  const { count, perMinute, meanMs, meanParts } = status.signIns
  const counts = fives(perMinute)
  const chart = bars(counts, Math.max(...counts), 'Succeeded in each five minutes of the last hour')
  const rows: (Html | false)[] = [
    html`<div><dt>Succeeded</dt><dd><span class="beside-bars">${number(count)} in the last hour</span>${chart}</dd></div>`,
    meanMs !== undefined && html`<div><dt>Took</dt><dd>${span(meanMs)} on average</dd></div>`,
    meanParts !== undefined &&
      html`<div><dt>Waited for</dt><dd><ul class="parts"><li>client ${span(meanParts.client)}</li> <li>issuer ${span(meanParts.issuer)}</li> <li>node ${span(meanParts.node)}</li> <li>gate itself ${span(meanParts.gate)}</li></ul></dd></div>`,
  ]
  return html`<dl class="facts">${rows}</dl>${refusals(status.refusals)}`
}

function refusals(refusals: readonly RefusalCount[]): Html {
  const most = Math.max(0, ...refusals.map(({ perMinute }) => Math.max(...fives(perMinute))))
  return html`${table<RefusalCount>({
    caption:
      'Refused in the last hour, by reason. A bar is five minutes, the last one to the right.',
    columns: [
      { name: 'Reason', kind: 'head', of: ({ failure }) => reason(failure) },
      { name: 'Refused', kind: 'number', of: ({ count }) => number(count) },
      {
        name: 'When',
        of: ({ perMinute }) =>
          bars(fives(perMinute), most, 'Refused in each five minutes of the last hour'),
      },
    ],
    rows: refusals,
    none: 'Nobody was refused in the last hour.',
  })}
<p class="note">What to do about a reason is in <code>docs/failures.md</code>; who it was, and when exactly, is in the
console’s <code>SHOW REFUSALS</code> and in the audit stream.</p>`
}

/** What clients read of it; the values that it has are theirs. */
function reason(failure: string): Html {
  const says = rowOf(failure)?.say.replace(/\{\w+\}/g, '…')
  return html`<code>${failure}</code>${says && html`<span class="says">${says}</span>`}`
}

/** Of sixty minutes. */
function fives(perMinute: readonly number[]): number[] {
  return Array.from({ length: 12 }, (_, at) =>
    perMinute.slice(5 * at, 5 * at + 5).reduce((sum, each) => sum + each, 0),
  )
}

function nodes({ nodes, workers }: Status): Html {
  const seenBy = workers.wanted === 1 ? 'the gate sees' : 'each worker sees'
  return table<NodeStatus>({
    caption: `As ${seenBy} them.`,
    columns: [
      { name: 'Node', kind: 'head', of: ({ node }) => html`<span class="name">${node}</span>` },
      { name: 'Cluster', of: ({ cluster }) => cluster },
      { name: 'State', of: nodeState },
      { name: 'Sessions', kind: 'number', of: ({ sessions }) => number(sessions) },
    ],
    rows: nodes,
    none: 'No node is known yet.',
  })
}

/** The worst that somebody sees, and how many do where not all agree. */
function nodeState({ up, draining, down }: NodeStatus): Html {
  const all = up + draining + down
  const seen = (count: number) =>
    count < all && html` <span class="says">as ${count} of ${all} workers see it</span>`
  if (down > 0) return html`${state('bad', 'down')}${seen(down)}`
  if (draining > 0) return html`${state('warn', 'draining')}${seen(draining)}`
  return state('good', 'up')
}

function issuers(issuers: readonly IssuerKeys[], nowMs: number): Html {
  return table<IssuerKeys>({
    caption: 'Whose tokens are believed, and the keys that may have signed them.',
    columns: [
      {
        name: 'Issuer',
        kind: 'head',
        of: ({ issuer }) => html`<span class="name">${short(issuer, 200)}</span>`,
      },
      { name: 'Cluster', of: ({ cluster }) => cluster },
      { name: 'Keys', of: keys },
      { name: 'Fetched', of: ({ from, fetchedMs }) => fetched(from, fetchedMs, nowMs) },
      { name: 'Fresh', of: (issuer) => fresh(issuer, nowMs) },
      { name: 'Last fetch', of: (issuer) => lastFetch(issuer, nowMs) },
    ],
    rows: issuers,
    none: 'No issuer is believed: nobody can sign in with a token.',
  })
}

const IDS_MAX = 6
const ID_CHARACTERS_MAX = 32

function keys({ ids, from }: IssuerKeys): Html {
  if (ids.length === 0) return state(from === 'nowhere' ? 'bad' : 'quiet', 'none')
  const more = ids.length - IDS_MAX
  return html`<ul class="ids">${ids
    .slice(0, IDS_MAX)
    .map((id) => html`<li><code>${short(id, ID_CHARACTERS_MAX)}</code></li>`)}${
    more > 0 && html`<li>and ${number(more)} more</li>`
  }</ul>`
}

function fetched(from: IssuerKeys['from'], fetchedMs: number | undefined, nowMs: number): Html {
  if (from === 'the configuration')
    return html`<span class="quiet when">in the configuration</span>`
  if (fetchedMs === undefined) return html`<span class="quiet">–</span>`
  return html`<span class="when">${moment(fetchedMs, nowMs)}</span>`
}

function fresh({ from, freshUntilMs, fetchedMs, lastError }: IssuerKeys, nowMs: number): Html {
  if (from !== 'its own address' || freshUntilMs === undefined)
    return html`<span class="quiet">–</span>`
  if (freshUntilMs > nowMs) return html`<span class="when">for ${span(freshUntilMs - nowMs)}</span>`
  if (lastError !== undefined) return state('bad', 'stale')
  // They are fetched again when a token comes.
  return state('quiet', freshUntilMs === fetchedMs ? 'fetched for each token' : 'stale, not in use')
}

const ERROR_CHARACTERS_MAX = 300

function lastFetch({ lastFetchMs, lastTookMs, lastError }: IssuerKeys, nowMs: number): Html {
  if (lastFetchMs === undefined) return html`<span class="quiet">–</span>`
  const took = lastTookMs === undefined ? '' : `, took ${span(lastTookMs)}`
  const when = html`<span class="when">${moment(lastFetchMs, nowMs)}${took}</span>`
  if (lastError === undefined) return when
  const says = short(lastError, ERROR_CHARACTERS_MAX)
  return html`${state('bad', 'failed')} ${when}<span class="says">${says}</span>`
}

function certificates({ certificates }: Status, nowMs: number): Html {
  return table<CertificateEnd>({
    caption: 'The next one to end first. Of those that are trusted together, the last one counts.',
    columns: [
      {
        name: 'Certificate',
        kind: 'head',
        of: ({ subject }) => html`<span class="name">${short(subject, 120)}</span>`,
      },
      {
        name: 'Setting',
        of: ({ key, file }) =>
          html`<code>${short(key, 200)}</code>${file !== '' && html`<span class="says">${short(file, 200)}</span>`}`,
      },
      { name: 'Ends', of: ({ endsMs }) => ends(endsMs, nowMs) },
    ],
    rows: certificates,
    none: 'The configuration names none.',
  })
}

const DAY_MS = 86_400_000

function ends(endsMs: number, nowMs: number): Html {
  const left = endsMs - nowMs
  const mood = left < 7 * DAY_MS ? 'bad' : left < 30 * DAY_MS ? 'warn' : 'quiet'
  return html`<span class="when">${day(endsMs)}</span> ${state(mood, fromNow(endsMs, nowMs))}`
}

function shared({ shared }: Status): Html {
  if (shared === undefined)
    return html`<p class="none">This gate shares nothing with others: the configuration has no <code>state</code>.</p>`
  const { ageMs, maxAgeMs, revocations, entries, settings } = shared
  const mood = ageMs > maxAgeMs ? 'bad' : ageMs > maxAgeMs / 2 ? 'warn' : 'good'
  const age = Number.isFinite(ageMs) ? `known ${span(ageMs)} ago` : 'not read yet'
  return html`<dl class="facts">
<div><dt>State</dt><dd>${state(mood, age)} <span class="says">at ${span(maxAgeMs)} nobody new is let in</span></dd></div>
<div><dt>Number</dt><dd>${shared.number === '' ? '–' : shared.number}</dd></div>
<div><dt>Holds</dt><dd>${counted(revocations, 'revocation')}, ${counted(entries, 'entry', 'entries')} of access lists, ${counted(settings, 'setting')}</dd></div>
</dl>`
}
