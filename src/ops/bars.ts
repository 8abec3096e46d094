/**
 * A row of bars, as SVG in the page: how many, in each of some stretches of time. Who can't see it is told
 * the same numbers. https://www.w3.org/TR/graphics-aria-1.0/
 */
import { type Html, html } from './html.ts'

const HEIGHT = 24
const WIDTH = 7
const STEP = 10
/** One is seen, however many there are elsewhere. */
const LEAST = 2

/** @param most - what a bar of full height stands for, so that rows can be compared. */
export function bars(counts: readonly number[], most: number, what: string): Html {
  const width = STEP * counts.length - (STEP - WIDTH)
  return html`<svg class="bars" role="img" aria-label="${what}: ${counts.join(', ')}" viewBox="0 0 ${width} ${HEIGHT + 1}" width="${width}" height="${HEIGHT + 1}">${counts.map((count, at) => bar(count, at, most))}<rect class="base" x="0" y="${HEIGHT}" width="${width}" height="1"/></svg>`
}

function bar(count: number, at: number, most: number): Html | undefined {
  if (count <= 0 || most <= 0) return undefined
  const height = Math.max(LEAST, Math.round((HEIGHT * count) / most))
  return html`<rect class="bar" x="${STEP * at}" y="${HEIGHT - height}" width="${WIDTH}" height="${height}"/>`
}
