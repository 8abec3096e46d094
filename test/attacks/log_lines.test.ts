/** What a client sends where the log and the audit stream repeat it: no line may do something to a terminal, or hold a token. */
import { beforeAll, describe, expect, it } from 'vitest'
import { type Served, startServe } from '../support/serve.ts'
import { goodClaims, makeKey, mint } from '../support/tokens.ts'
import { expectNoToken } from '../support/tools.ts'
import { JWT_OPTION } from '../support/wire_client.ts'
import { attempt, realNode, USER } from './attempt.ts'

describe('5.18 lines of the log and the audit stream', () => {
  let served: Served
  beforeAll(async () => {
    served = await startServe({ node: realNode() })
  })
  it.each(['user', 'database', 'application_name'])(
    'no control, no separator and nothing invisible of %s',
    async (name) => {
      for (const text of ['x\u009b2Jy', 'x\u0085y', 'x\u2028y', 'x\u202ey', 'x\u007fy'])
        await attempt(served, 'no token', { ...USER, [name]: text })
      for (const all of [served.said(), await served.auditText()])
        for (const line of all.split('\n')) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    },
  )
  it.each<[string, (token: string) => Record<string, string>]>([
    ['replication', (token) => ({ replication: token })],
    ['a parameter’s name', (token) => ({ [token]: 'x' })],
    ['a parameter’s value that the node refuses', (token) => ({ client_encoding: token })],
    ['an option’s', (token) => ({ options: `${JWT_OPTION.options} -c client_encoding=${token}` })],
    ['an option', (token) => ({ options: `${JWT_OPTION.options} ${token}` })],
    ['an option’s name', (token) => ({ options: `${JWT_OPTION.options} --${token}=1` })],
    ['a flag', (token) => ({ options: `${JWT_OPTION.options} -Z${token}` })],
    ['DateStyle', (token) => ({ datestyle: token })],
  ])('no token that came as %s', async (_where, place) => {
    const claims = { ...goodClaims('maxroach'), groups: Array(40).fill('group') }
    const misplaced = await mint(await makeKey('misplaced'), { claims })
    await attempt(served, await served.token('maxroach'), { ...USER, ...place(misplaced) })
    expectNoToken([misplaced], served.said(), await served.auditText())
  })
})
