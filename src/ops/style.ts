/**
 * How the status page looks: in light and in dark, as the reader's system has it, from 320 pixels on.
 * Rule: text has a contrast of 4.5 to 1 and more in both (WCAG 1.4.3), and nothing is said by colour alone.
 */

export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f8;
  --sheet: #ffffff;
  --text: #1a2027;
  --quiet: #56616d;
  --line: #dde2e7;
  --link: #0b5a96;
  --good: #176639;
  --good-ground: #e3f3e9;
  --warn: #7d4f00;
  --warn-ground: #fcf0d4;
  --bad: #a4221b;
  --bad-ground: #fce7e5;
  --bar: #4a7396;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1317;
    --sheet: #171c22;
    --text: #e4e8ec;
    --quiet: #9aa6b2;
    --line: #2a323a;
    --link: #84bdee;
    --good: #7fd2a0;
    --good-ground: #16301f;
    --warn: #edc272;
    --warn-ground: #362a10;
    --bad: #f8a49d;
    --bad-ground: #3c1a18;
    --bar: #6c9cc4;
  }
}
* { box-sizing: border-box; margin: 0; padding: 0; }
html { font: 100%/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  max-width: 84rem; margin: 0 auto; padding: 1.25rem 1.5rem 2rem;
  color: var(--text); background: var(--ground);
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
.name, .says, code, .looks a, .beside, dd { overflow-wrap: anywhere; }
a { color: var(--link); text-underline-offset: .15em; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
main:focus { outline: none; }
code { font: .875em/1.5 ui-monospace, "SFMono-Regular", "Liberation Mono", "DejaVu Sans Mono", monospace; }
ul { list-style: none; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 1rem; padding: .5rem 1rem; background: var(--sheet); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.quiet { color: var(--quiet); }

header { display: flex; flex-wrap: wrap; gap: .75rem 2rem; align-items: center; justify-content: space-between; }
.brand { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center; }
.brand svg { fill: none; stroke: var(--text); stroke-width: 2; stroke-linecap: round; }
.brand .leaf { fill: var(--text); stroke: none; }
h1 { font-size: 1.5rem; line-height: 1.2; letter-spacing: -.01em; }
.about { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; font-size: .875rem; }
.about dt { color: var(--quiet); }
.about div { display: flex; gap: .4rem; }

nav { margin: 1rem 0; border-bottom: 1px solid var(--line); }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1.25rem; }
nav a { display: inline-block; padding: .35rem 0; font-size: .9375rem; text-decoration: none; }
nav a:hover { text-decoration: underline; }

.state {
  display: inline-block; padding: .05rem .55rem; border-radius: 1rem;
  font-size: .875rem; font-weight: 600; white-space: nowrap;
}
header .state { white-space: normal; }
.state.good, .looks.calm { color: var(--good); background: var(--good-ground); }
.state.warn { color: var(--warn); background: var(--warn-ground); }
.state.bad { color: var(--bad); background: var(--bad-ground); }
.state.quiet { padding: 0; font-weight: 400; }

.looks { padding: .8rem 1.25rem; background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; border-left: .3rem solid; }
.looks.calm { border-color: transparent transparent transparent var(--good); }
.looks.warn { border-left-color: var(--warn); }
.looks.bad { border-left-color: var(--bad); }
.looks h2 { font-size: 1.0625rem; }
.looks ul { margin-top: .35rem; }
.looks li { display: flex; gap: .75rem; align-items: baseline; padding: .15rem 0; }
.looks a { color: var(--text); text-decoration-color: var(--quiet); text-decoration-thickness: 1px; }
.looks .state { flex: none; width: 4.25rem; text-align: center; }

.figures { display: grid; gap: .75rem; margin: 1rem 0; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
.figures div { padding: .7rem 1rem .8rem; background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; }
.figures dt { color: var(--quiet); font-size: .8125rem; }
.figure { display: block; font-size: 1.375rem; font-weight: 650; line-height: 1.3; letter-spacing: -.01em; }
.beside { color: var(--quiet); font-size: .8125rem; }

.sections { display: grid; gap: 1rem; grid-template-columns: repeat(2, minmax(0, 1fr)); margin-bottom: 1rem; }
.column { display: flex; flex-direction: column; gap: 1rem; }
.column section { flex: none; }
.column section:last-child { flex: auto; }
.part { padding: 1rem 1.25rem 1.1rem; background: var(--sheet); border: 1px solid var(--line); border-radius: .5rem; }
.wide .part { margin-bottom: 1rem; }
h2 { font-size: 1.125rem; line-height: 1.4; }
.note, .none { margin-top: .75rem; color: var(--quiet); font-size: .875rem; }

table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
caption { padding-bottom: .5rem; color: var(--quiet); font-size: .875rem; text-align: left; }
th, td { padding: .45rem .9rem .45rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line); font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--quiet); font-size: .8125rem; border-top: 0; white-space: nowrap; }
.number { text-align: right; }
tbody th { font-weight: 600; }
.says { display: block; color: var(--quiet); font-size: .8125rem; font-weight: 400; }
.ids li { display: inline; }
.ids li:not(:last-child)::after { content: ", "; }
.bars { display: block; margin-top: .05rem; }
.bar { fill: var(--bar); }
.base { fill: var(--line); }

.facts { margin: .5rem 0; font-size: .9375rem; }
.facts + table { margin-top: 1rem; }
.beside-bars { float: left; margin-right: 1rem; }
.facts div { display: grid; grid-template-columns: 6rem 1fr; padding: .45rem 0; border-top: 1px solid var(--line); }
.facts dt { color: var(--quiet); }
.parts { display: flex; flex-wrap: wrap; gap: 0 1.1rem; }
footer { margin-top: 1.25rem; color: var(--quiet); font-size: .875rem; }

@media (min-width: 75rem) {
  .when { white-space: nowrap; }
  #issuers .name { display: block; min-width: 15rem; }
}
@media (max-width: 60rem) {
  .sections { grid-template-columns: minmax(0, 1fr); }
  .column section:last-child { flex: none; }
}
@media (max-width: 42rem) {
  body { padding: 1rem .8rem 2rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .5rem; }
  .figures div { padding: .55rem .75rem .65rem; }
  .figure { font-size: 1.25rem; }
  .looks { padding: .7rem .9rem; }
  .looks li { flex-direction: column; align-items: flex-start; gap: .1rem; padding: .3rem 0; }
  .part { padding: .9rem .9rem 1rem; }
  tbody .number { text-align: left; }
  .looks .state { width: auto; }
  table, caption, tbody, tr, tbody th, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { padding: .5rem 0; border-top: 1px solid var(--line); }
  tbody th, td { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); gap: .75rem; padding: .15rem 0; border: 0; text-align: left; }
  [data-label]::before { content: attr(data-label); color: var(--quiet); font-size: .8125rem; font-weight: 400; line-height: 1.75; }
}
@media (forced-colors: active) {
  .bar { fill: CanvasText; }
  .base { fill: GrayText; }
  .state { border: 1px solid; }
  .state.quiet { border: 0; }
}
@media (prefers-reduced-motion: no-preference) {
  html { scroll-behavior: smooth; }
}
`
