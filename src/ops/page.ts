/**
 * The status page: how the gate is, for whoever is on call, as one document of HTML without a script.
 * https://www.w3.org/WAI/standards-guidelines/wcag/ (level AA)
 * Rule: it is made of a Status and nothing else, and everything in it is there for eyes, ears and keys alike.
 */
import type { Status } from '../telemetry/status.ts'
import { type Concern, concerns } from './concerns.ts'
import { asText, type Html, html, styleSheet } from './html.ts'
import { type Section, sections } from './sections.ts'
import { STYLE } from './style.ts'
import { clock, counted, fromNow, number, span } from './words.ts'

const style = styleSheet(STYLE)

/** What a browser may do with the page: show it, in these colours. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src ${style.source}`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** By the link that asks for it. */
export const REFRESH_SECONDS = 10

/** @param refreshing - the browser asks for the page again and again. */
export function page(status: Status, refreshing: boolean): string {
  const found = concerns(status)
  const parts = sections(status)
  return asText(html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${refreshing && html`<meta http-equiv="refresh" content="${REFRESH_SECONDS}">`}
<title>${title(status, found)}</title>
${style.element}
</head>
<body>
<a class="skip" href="#status">Skip to the status</a>
${header(status, refreshing)}
${navigation([...parts.left, ...parts.right, ...parts.below])}
<main id="status" tabindex="-1">
${looks(found)}
${figures(status)}
<div class="sections">
<div class="column">
${parts.left.map(section)}</div>
<div class="column">
${parts.right.map(section)}</div>
</div>
<div class="wide">
${parts.below.map(section)}</div>
</main>
<footer>
<p>This page can only be read. Beside it there are <a href="/metrics">/metrics</a> for Prometheus,
<a href="/livez">/livez</a> and <a href="/readyz">/readyz</a>.</p>
</footer>
</body>
</html>
`)
}

function title({ notReady }: Status, found: readonly Concern[]): string {
  const how = notReady === undefined ? 'ready' : 'not ready'
  return found.length === 0 ? `Postern: ${how}` : `Postern: ${how}, ${found.length} to look at`
}

function header(status: Status, refreshing: boolean): Html {
  const { notReady, version, runtime, atMs, sinceMs } = status
  const ready = notReady === undefined
  const again = refreshing
    ? html`<a href="/">Stop refreshing</a>`
    : html`<a href="/?refresh=${REFRESH_SECONDS}">Refresh every ${REFRESH_SECONDS} s</a>`
  return html`<header id="gate">
<div class="brand">
<svg aria-hidden="true" viewBox="0 0 28 28" width="28" height="28"><path class="arch" d="M5 26V13a9 9 0 0 1 18 0v13"/><path class="leaf" d="M14 26V10l5 2v14z"/></svg>
<h1>Postern</h1>
<p class="state ${ready ? 'good' : 'bad'}">${ready ? 'ready' : `not ready: ${notReady}`}</p>
</div>
<dl class="about">
<div><dt>Version</dt><dd>${version}</dd></div>
${runtime !== '' && html`<div><dt>On</dt><dd>${runtime}</dd></div>`}
<div><dt>Up</dt><dd>${span(atMs - sinceMs)}</dd></div>
<div><dt>Workers</dt><dd>${workersOf(status)}</dd></div>
<div><dt>As of</dt><dd><time datetime="${clock(atMs).replace(' ', 'T')}Z">${clock(atMs)} UTC</time></dd></div>
<div><dt class="unseen">This page</dt><dd>${again}</dd></div>
</dl>
</header>`
}

function workersOf({ workers: { open, wanted } }: Status): string {
  if (wanted === 1) return 'in one process'
  return open === wanted ? `${open} open` : `${open} open of ${wanted}`
}

function navigation(parts: readonly Section[]): Html {
  return html`<nav aria-label="Sections"><ul>
${parts.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>\n`)}</ul></nav>`
}

/** What somebody should look at, before anything else. */
function looks(found: readonly Concern[]): Html {
  if (found.length === 0)
    return html`<section class="looks calm" aria-labelledby="looks">
<h2 id="looks">Nothing needs a look</h2>
</section>`
  const worst = found.some(({ level }) => level === 'bad') ? 'bad' : 'warn'
  return html`<section class="looks ${worst}" aria-labelledby="looks">
<h2 id="looks">${counted(found.length, 'thing')} to look at</h2>
<ul>
${found.map(({ level, says, section }) => html`<li class="${level}"><span class="state ${level}">${level === 'bad' ? 'Act' : 'Watch'}</span> <a href="#${section}">${says}</a></li>\n`)}</ul>
</section>`
}

function figures(status: Status): Html {
  const { sessions, connections, signIns, refusals, nodes, certificates, shared, atMs } = status
  const all = sessions.reduce((sum, { count }) => sum + count, 0)
  const refused = refusals.reduce((sum, { count }) => sum + count, 0)
  const up = nodes.filter(({ down, draining }) => down === 0 && draining === 0).length
  const [next] = certificates
  const tiles: [name: string, value: string, beside: string][] = [
    ['Sessions', number(all), `on ${counted(connections, 'connection')}`],
    ['Signed in, last hour', number(signIns.count), tookOf(status)],
    ['Refused, last hour', number(refused), counted(refusals.length, 'reason')],
    [
      'Nodes up',
      `${number(up)} of ${number(nodes.length)}`,
      counted(clustersOf(status), 'cluster'),
    ],
    next === undefined
      ? ['Next certificate', 'none', 'the configuration names none']
      : ['Next certificate ends', fromNow(next.endsMs, atMs), next.subject],
    shared === undefined
      ? ['Shared state', 'none', 'this gate is on its own']
      : [
          'Shared state',
          ageOf(shared.ageMs),
          `number ${shared.number === '' ? '–' : shared.number}`,
        ],
  ]
  return html`<dl class="figures">
${tiles.map(([name, value, beside]) => html`<div><dt>${name}</dt><dd><span class="figure">${value}</span> <span class="beside">${beside}</span></dd></div>\n`)}</dl>`
}

function tookOf({ signIns: { meanMs } }: Status): string {
  return meanMs === undefined ? 'nobody' : `${span(meanMs)} on average`
}

function ageOf(ageMs: number): string {
  return Number.isFinite(ageMs) ? `${span(ageMs)} old` : 'not read yet'
}

function clustersOf({ sessions }: Status): number {
  return new Set(sessions.map(({ cluster }) => cluster)).size
}

function section({ id, title, content }: Section): Html {
  return html`<section class="part" id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${content}
</section>
`
}
