/** What a server says of its settings, found among other messages. */
import { describe, expect, it } from 'vitest'
import { decodeParameterStatus, parameterStatuses } from '../../src/wire/parameter_status.ts'
import { parameterStatus } from '../support/scripted_node.ts'
import { message } from '../support/wire_client.ts'

describe('ParameterStatus', () => {
  const notice = message('N', 'SNOTICE\0Mhello\0\0')
  const [zone, style] = [
    parameterStatus('TimeZone', 'UTC'),
    parameterStatus('DateStyle', 'ISO, MDY'),
  ]

  it('is found among notices, byte by byte as it was', () => {
    const { bytes, values } = parameterStatuses(Buffer.concat([notice, zone, notice, style]))
    expect(bytes).toEqual(Buffer.concat([zone, style]))
    expect(Object.fromEntries(values)).toEqual({ TimeZone: 'UTC', DateStyle: 'ISO, MDY' })
  })

  it('counts as it was said last', () => {
    const all = Buffer.concat([zone, parameterStatus('TimeZone', 'CET')])
    expect(parameterStatuses(all).values.get('TimeZone')).toBe('CET')
    expect(parameterStatuses(Buffer.alloc(0)).bytes).toHaveLength(0)
  })

  it.each(['', 'TimeZone', 'TimeZone\0', 'TimeZone\0UTC', 'TimeZone\0UTC\0more', 'a\0b\0c\0'])(
    'has two strings: not %j',
    (body) => {
      expect(() => decodeParameterStatus(Buffer.from(body))).toThrow('broke the protocol')
    },
  )
})
