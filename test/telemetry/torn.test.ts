/** What is left of a line that was torn, and what only looks like it. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isTorn } from '../../src/telemetry/torn.ts'

const torn = (text: string) => isTorn({ bytes: Buffer.from(text), tooLong: false, ended: true })
const BEGINS = '{"channel":"SESSIONS","Timestamp":'

it.each<[string, boolean]>([
  ['', true],
  ['\0\0', true],
  ['{"cha', true],
  [BEGINS, true],
  [`${BEGINS}17`, true],
  [`${BEGINS}17,`, true],
  [`${BEGINS}17,"a":tr`, true],
  [`${BEGINS}17,"a":[{"b":null}`, true],
  [`${BEGINS}17,"a":"it is {\\"`, true],
  [`${BEGINS}17,"a":"\0\0`, true],
  [`${BEGINS}hello, I am the auditor and all is well`, false],
  [`${BEGINS}17 hello`, false],
  [`${BEGINS}"17"`, false],
  [`${BEGINS}{"a":1`, false],
  [`${BEGINS}17,hello`, false],
  [`${BEGINS}17,"a":hello`, false],
  [`${BEGINS}17,"a" and so on`, false],
  [`${BEGINS}17,"a":"b" and so on`, false],
  [`${BEGINS}17,"a":"b","c","d":1`, false],
  [`${BEGINS}17,,`, false],
  [`${BEGINS}17,"a":[1}`, false],
  [`${BEGINS}17,"a":{}hello`, false],
  [`${BEGINS}17,"channel":"SESSIONS"`, false],
  [`${BEGINS}17}`, false],
  [`${BEGINS}17} and so on`, false],
  [`${BEGINS}17,"a":[[[[[[[[`, false],
  ['nothing', false],
])('%j', (text, is) => {
  expect(torn(text)).toBe(is)
})

it('is any line of ours that is cut anywhere', () => {
  const text = fc.string({ unit: 'binary' })
  const name = fc.stringMatching(/^[A-Za-z]{1,8}$/)
  const one = fc.oneof(text, fc.double({ noNaN: true }), fc.boolean(), fc.constant(null))
  const some = fc.oneof(one, fc.array(text), fc.dictionary(name, fc.oneof(one, fc.array(one))))
  const event = fc.dictionary(name, some)
  fc.assert(
    fc.property(event, fc.nat(), (members, at) => {
      const says = JSON.stringify({ EventType: 'login_decision', ...members }).slice(1)
      const bytes = Buffer.from(`${BEGINS}1700000000000000000,"InstanceID":1,${says}`)
      const cut = bytes.subarray(0, at % bytes.length)
      expect(isTorn({ bytes: cut, tooLong: false, ended: false })).toBe(true)
    }),
    { numRuns: 500 },
  )
})
