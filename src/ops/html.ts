/**
 * HTML by a tagged template: what stands in the template is markup, whatever is put into it is text, and
 * nothing else makes markup. https://html.spec.whatwg.org/multipage/syntax.html
 * Rule: a value stands between tags or in a quoted attribute; a template that puts one elsewhere is refused.
 */
import { hash } from 'node:crypto'

const markup = Symbol('markup')

/** Made by `html` alone. */
export interface Html {
  readonly [markup]: string
}

/** `undefined` and `false` are nothing. */
export type Content = string | number | Html | undefined | false | readonly Content[]

export function html(template: TemplateStringsArray, ...values: readonly Content[]): Html {
  const places = placesOf(template)
  const parts = values.map((value, at) =>
    places[at] === 'attribute' ? escaped(attributeText(value)) : textOf(value),
  )
  return { [markup]: String.raw({ raw: template }, ...parts) }
}

export function asText(made: Html): string {
  return made[markup]
}

/** A style sheet, and what a Content-Security-Policy calls this one and no other. */
export function styleSheet(css: string): { element: Html; source: string } {
  if (css.includes('<')) throw new Error('a style sheet has no markup in it')
  return {
    element: { [markup]: `<style>${css}</style>` },
    source: `'sha256-${hash('sha256', css, 'base64')}'`,
  }
}

function textOf(value: Content): string {
  if (value === undefined || value === false) return ''
  if (typeof value === 'string' || typeof value === 'number') return escaped(String(value))
  return markup in value ? value[markup] : value.map(textOf).join('')
}

function attributeText(value: Content): string {
  if (typeof value === 'object') throw new Error('an attribute is a text')
  return value === undefined || value === false ? '' : String(value)
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Controls, and what only changes how other characters look, are shown as such. */
function escaped(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}

type Place = 'text' | 'attribute'

/** By the template: the same one is the same object each time. */
const known = new WeakMap<TemplateStringsArray, readonly Place[]>()

function placesOf(template: TemplateStringsArray): readonly Place[] {
  const found = known.get(template) ?? findPlaces(template)
  known.set(template, found)
  return found
}

/** Stands for a value. */
const VALUE = '\uFFFC'
/** A tag up to the middle of an attribute: its name, and how its value begins. */
const IN_ATTRIBUTE = /^<[a-z][\w-]*(?:\s+[\w-]+(?:="[^"]*")?)*\s+([\w-]+)="([^"]*)$/
/** What stands in them is no text. */
const RAW = /<(?:style|script)\b[^>]*>[^<]*$/
/** What stands in them is obeyed. */
const OBEYED = /^(?:on.*|style|srcdoc)$/
/** A value may not say where to by itself. */
const ADDRESS = /^(?:href|src|action|formaction)$/

function findPlaces(template: TemplateStringsArray): Place[] {
  const upTo = (at: number) => template.slice(0, at + 1).join(VALUE)
  const whole = upTo(template.length - 1)
  if (isInTag(whole)) throw refused('ends in the middle of a tag', whole)
  return template.slice(0, -1).map((_, at) => {
    const before = upTo(at)
    if (RAW.test(before)) throw refused('puts a value where no text is', before)
    if (!isInTag(before)) return 'text'
    const [, name, begun = ''] = IN_ATTRIBUTE.exec(before.slice(before.lastIndexOf('<'))) ?? []
    if (name === undefined) throw refused('puts a value beside the quotes', before)
    if (OBEYED.test(name)) throw refused(`puts a value into ${name}`, before)
    if (ADDRESS.test(name) && (begun === '' || begun.startsWith(VALUE)))
      throw refused('lets a value say where to', before)
    return 'attribute'
  })
}

function isInTag(text: string): boolean {
  return text.lastIndexOf('<') > text.lastIndexOf('>')
}

function refused(what: string, text: string): Error {
  return new Error(`a template ${what}: ${text.slice(-60).replaceAll(VALUE, '…')}`)
}
