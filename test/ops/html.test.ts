/** Whatever is put into a template is text: no value becomes markup, wherever it stands. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asText, type Content, html, styleSheet } from '../../src/ops/html.ts'

const HOSTILE = `"><script>alert('x')</script>&amp;`

describe('a value', () => {
  it.each<[string, Content, string]>([
    ['a text', 'carl', 'carl'],
    ['a number', 0, '0'],
    ['nothing', undefined, ''],
    ['what is not so', false, ''],
    ['markup', html`<b>${'<i>'}</b>`, '<b>&lt;i&gt;</b>'],
    ['a list of both', ['<', html`<br>`, [1, '>']], '&lt;<br>1&gt;'],
    [
      'a hostile one',
      HOSTILE,
      '&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;',
    ],
    [
      'controls, and what turns a text around',
      'a\0b\u202Ec\u2028d\u200Be',
      'a\uFFFDb\uFFFDc\uFFFDd\uFFFDe',
    ],
  ])('%s', (_what, value, expected) => {
    expect(asText(html`<p>${value}</p>`)).toBe(`<p>${expected}</p>`)
  })

  it('in an attribute is a text as well', () => {
    const made = html`<a class="x ${'y" onclick="z'}" href="#${HOSTILE}">${1}</a>`
    expect(asText(made)).toBe(
      '<a class="x y&quot; onclick=&quot;z" href="#&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;">1</a>',
    )
  })

  it('that looks like markup is none', () => {
    const forged = JSON.parse('{"markup":"<b>","Symbol(markup)":"<b>"}')
    expect(() => asText(html`<p>${forged}</p>`)).toThrow()
  })

  it('never leaves its place', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...`<>"'&=/; a\0\u202E`) }), (value) => {
        const made = asText(html`<a title="${value}">${value}</a>`)
        expect(made).toMatch(/^<a title="[^"<>]*">[^"<>]*<\/a>$/)
      }),
    )
  })
})

describe('a template is refused that', () => {
  it.each<[string, () => unknown, string]>([
    ['names an attribute', () => html`<p ${'x'}="y">`, 'beside the quotes'],
    ['leaves the quotes out', () => html`<p class=${'x'}>`, 'beside the quotes'],
    ['has other quotes', () => html`<p class='${'x'}'>`, 'beside the quotes'],
    ['names an element', () => html`<${'p'}>`, 'beside the quotes'],
    ['has it in a comment', () => html`<!-- ${'x'} -->`, 'beside the quotes'],
    ['has it in a script', () => html`<script>${'x'}</script>`, 'where no text is'],
    ['has it in a style sheet', () => html`<style>a { ${'x'} }</style>`, 'where no text is'],
    ['has it obeyed', () => html`<p onclick="a('${'x'}')">`, 'into onclick'],
    ['styles by it', () => html`<p style="color: ${'x'}">`, 'into style'],
    ['goes where it says', () => html`<a href="${'x'}">`, 'say where to'],
    ['ends in a tag', () => html`<p class="x"`, 'in the middle of a tag'],
    [
      'puts markup into an attribute',
      () => html`<p class="${html`<b>`}">`,
      'an attribute is a text',
    ],
  ])('%s', (_what, make, problem) => {
    expect(make).toThrow(problem)
  })
})

it('a style sheet is known by its digest, and has no markup in it', () => {
  const { element, source } = styleSheet('a{color:red}')
  expect(asText(html`${element}`)).toBe('<style>a{color:red}</style>')
  // printf 'a{color:red}' | openssl dgst -sha256 -binary | base64
  expect(source).toMatch(/^'sha256-[A-Za-z0-9+/]{43}='$/)
  expect(() => styleSheet('</style><script>')).toThrow()
})
