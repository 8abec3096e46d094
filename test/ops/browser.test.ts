/**
 * The status page in a browser: nothing that axe-core finds fault with, on a phone and on a desk, by day and
 * by night, without a mouse and without a script.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type OpsDoor, openOps } from '../../src/ops/ops.ts'
import { openMetrics } from '../../src/telemetry/metrics.ts'
import type { Status } from '../../src/telemetry/status.ts'
import { calm, troubled } from '../support/status.ts'
import { CHROMIUM, describeWith } from '../support/tools.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** What is dark is laid out as what is bright. */
const WIDTHS = { light: [320, 400, 700, 1000, 1400], dark: [400, 1400] }

describeWith('chromium', 'in a browser', () => {
  let browser: Browser
  let door: OpsDoor
  let status: Status = calm()
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
    const hosts = () => []
    const parts = { metrics: openMetrics('0'), notReady: () => undefined, hosts }
    const address = { host: '127.0.0.1', port: 0 }
    door = await openOps(address, { ...parts, status: () => status })
  })
  afterAll(async () => {
    await browser?.close()
    await door?.close()
  })

  /** The page, and what the browser complains of. */
  async function open(shown: Status, options: BrowserContextOptions = {}, path = '/') {
    status = shown
    const context = await browser.newContext(options)
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(`http://127.0.0.1:${door.port}${path}`)
    return { page, complaints, close: () => context.close() }
  }

  const looks = [
    ['all is well', calm()],
    ['there is trouble', troubled()],
  ] as const
  const schemes = ['light', 'dark'] as const
  const all = looks.flatMap(([how, shown]) =>
    schemes.flatMap((colorScheme) =>
      WIDTHS[colorScheme].map((width) => ({ how, shown, colorScheme, width })),
    ),
  )

  it.each(all)('$how: $width px wide, $colorScheme', async ({ shown, colorScheme, width }) => {
    const viewport = { width, height: 900 }
    const { page, complaints, close } = await open(shown, { colorScheme, viewport })
    expect(await violations(page)).toEqual([])
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    expect(await beyond(page, width)).toEqual([])
    expect(complaints).toEqual([])
    await close()
  })

  it('is the same without scripts, and styled under its own policy', async () => {
    const { page, complaints, close } = await open(calm(), { javaScriptEnabled: false })
    expect(await page.locator('h1').innerText()).toBe('Postern')
    const [first, second] = await Promise.all(
      ['Version', 'Up'].map((name) => page.getByText(name, { exact: true }).boundingBox()),
    )
    // Side by side, as only the style sheet has them.
    expect(first?.y).toBe(second?.y)
    expect(complaints).toEqual([])
    await close()
  })

  it('lets who has no mouse skip to what matters', async () => {
    const { page, close } = await open(troubled())
    await page.keyboard.press('Tab')
    const skip = page.locator('.skip')
    expect((await skip.boundingBox())?.x).toBeGreaterThanOrEqual(0)
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('status')
    await close()
  })

  it('has all of its links in reach of the Tab key, in their order', async () => {
    const { page, close } = await open(troubled())
    const links = Number(await page.evaluate('document.links.length'))
    const order: unknown[] = []
    for (let at = 0; at < links; at++) {
      await page.keyboard.press('Tab')
      order.push(await page.evaluate('document.activeElement.getAttribute("href")'))
    }
    expect(order).toEqual(
      await page.evaluate('[...document.links].map((link) => link.getAttribute("href"))'),
    )
    await close()
  })

  it('every link of it goes somewhere', async () => {
    const { page, close } = await open(troubled())
    const targets = await page.evaluate(
      '[...document.links].map((link) => link.getAttribute("href")).filter((href) => href[0] === "#" && !document.querySelector(href))',
    )
    expect(targets).toEqual([])
    await close()
  })

  it('looks again by itself when it is asked to, and stops', async () => {
    const { page, close } = await open(calm())
    await page.getByText('Refresh every 10 s').click()
    expect(await page.locator('meta[http-equiv=refresh]').count()).toBe(1)
    await page.getByText('Stop refreshing').click()
    expect(await page.locator('meta[http-equiv=refresh]').count()).toBe(0)
    await close()
  })

  /** What axe-core finds, each by its rule and its place. */
  async function violations(page: Page): Promise<string[]> {
    await page.evaluate(AXE)
    const found = await page.evaluate(
      'axe.run().then(({ violations, passes }) => ({ violations, passes: passes.length }))',
    )
    const { violations, passes } = found as {
      violations: { id: string; nodes: { html: string }[] }[]
      passes: number
    }
    expect(passes).toBeGreaterThan(20)
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
  }

  /** Texts that are cut at the right, though the page itself doesn't scroll. */
  async function beyond(page: Page, width: number): Promise<unknown> {
    return await page.evaluate(
      `[...document.querySelectorAll('main :not(thead, thead *)')].filter((each) => each.getBoundingClientRect().right > ${width} + 1).map((each) => each.outerHTML.slice(0, 80))`,
    )
  }
})
