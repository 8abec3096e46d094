/** The audit stream where writing it goes wrong, or takes its time: who waits, and what is left in the file. */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openAudit } from '../../src/telemetry/audit.ts'
import { type AuditSink, openAuditStream, openGrouped } from '../../src/telemetry/audit_file.ts'
import { openWithin } from '../../src/telemetry/within.ts'
import { KEY, NOW, openSealed, say, textOf, verify } from '../support/sealed.ts'

const dir = mkdtempSync(join(tmpdir(), 'postern-audit-'))
afterAll(() => rmSync(dir, { recursive: true }))
let files = 0
const newFile = () => join(dir, `audit-${files++}.log`)

const FULL = '/dev/full'
const now = () => NOW
const END = { EventType: 'client_session_end', SessionID: 'a' } as never
const GRANTED = { EventType: 'login_decision', SessionID: 'a' } as never

describe('a line', () => {
  it('is in the file when it is written, for its owner alone', () => {
    const path = newFile()
    openAudit(openAuditStream(path), now).write(7, END)
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      channel: 'SESSIONS',
      Timestamp: NOW * 1e6,
      InstanceID: 7,
      EventType: 'client_session_end',
      SessionID: 'a',
    })
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  it('is one an event, whatever a client sent, with every digit of the time', () => {
    const lines: string[] = []
    const audit = openAudit({ write: (line) => void lines.push(line) }, () => NOW + 123)
    audit.write(7, {
      User: 'a"\n\0\u2028\u009b\u202e',
      Tls: null,
      Token: { names: ['é'] },
    } as never)
    const head = '{"channel":"SESSIONS","Timestamp":1700000000123000000,"InstanceID":7,'
    const rest =
      '"User":"a\\"\\n\\u0000\\u2028\\u009b\\u202e","Tls":null,"Token":{"names":["é"]}}\n'
    expect(lines).toEqual([head + rest])
  })

  it('that can’t be written throws', () => {
    expect(() => openAudit(openAuditStream(FULL), now).write(7, END)).toThrow('ENOSPC')
    expect(() => openAuditStream(join(dir, 'nowhere', 'audit.log'))).toThrow('cannot write to')
  })

  it('comes behind a torn one on a line of its own, sealed or not', () => {
    const path = newFile()
    openAuditStream(path).write('{"torn')
    const stream = openAuditStream(path)
    expect(stream.found?.()).toMatchObject({ torn: true })
    stream.write('{}\n')
    expect(textOf(path)).toBe('{"torn\n{}\n')
  })
})

/** A sink that fails when it is told to, in the middle of a line or after it. */
function failing() {
  let text = ''
  let left = Number.POSITIVE_INFINITY
  let torn = false
  const sink: AuditSink = {
    write(line) {
      const all = torn ? `\n${line}` : line
      text += all.slice(0, left)
      torn = all.length > left
      if (!torn) return
      throw new Error('ENOSPC')
    },
  }
  return {
    sink,
    text: () => text,
    /** After so many characters. */
    failAfter(characters: number) {
      left = characters
    },
  }
}

describe('a chain', () => {
  it.each([0, 1, 30, 120, 170])(
    'is broken by a line that fails after %i characters',
    async (at) => {
      const { sink, text, failAfter } = failing()
      const audit = openAudit(sink, now, { seal: KEY })
      say(audit, 'a', 'b')
      failAfter(at)
      expect(() => audit.write(1, END)).toThrow('ENOSPC')
      expect(() => audit.write(1, END)).toThrow('ENOSPC')
      // What was written before is to be kept, at the end of the gate as well.
      expect(audit.head()).toMatchObject({ seq: 2 })
      failAfter(Number.POSITIVE_INFINITY)
      say(audit, 'c')
      const found = await verify(text(), [audit.head()])
      expect(found.wrong).toEqual([])
      const begins = text()
        .split('\n')
        .filter((line) => line.includes('seal_begin') && line.endsWith('}'))
      expect(JSON.parse(begins.at(-1) ?? '')).toMatchObject({
        Why: 'failure',
        Previous: { Seq: 2 },
      })
    },
  )

  it('survives a line that was whole, and was said not to be', async () => {
    let text = ''
    let failing = false
    const sink: AuditSink = {
      write(line) {
        text += line
        if (failing) throw new Error('EIO')
      },
    }
    const audit = openAudit(sink, now, { seal: KEY })
    say(audit, 'a')
    failing = true
    expect(() => audit.write(1, END)).toThrow('EIO')
    failing = false
    say(audit, 'b')
    const { wrong, notes } = await verify(text, [audit.head()])
    expect([wrong, notes[0]?.says]).toEqual([
      [],
      expect.stringContaining('may not have been acknowledged'),
    ])
  })
})

describe('a file that was renamed', () => {
  it('is begun anew, and both are one stream', async () => {
    const path = newFile()
    const audit = openSealed(path)
    say(audit, 'a', 'b')
    expect(audit.reopen()).toBe(false)
    renameSync(path, `${path}.1`)
    say(audit, 'c')
    const last = audit.head()
    expect(audit.reopen()).toBe(true)
    expect(audit.head()).toEqual(last)
    say(audit, 'd')
    const [old, young] = [textOf(`${path}.1`), textOf(path)]
    expect(JSON.parse(young.split('\n')[0] ?? '')).toMatchObject({
      Why: 'file',
      Previous: { Seq: 3 },
    })
    expect(await verify([old, young], [audit.head()])).toMatchObject({ wrong: [], notes: [] })
    const less = old.split('\n').slice(0, -2).join('\n')
    expect((await verify([`${less}\n`, young])).wrong).toEqual(['removed 1:1'])
    expect(statSync(path).mode & 0o777).toBe(0o600)
  })

  it('that can’t be begun anew stays in use', () => {
    const place = join(dir, 'place')
    mkdirSync(place)
    const stream = openAuditStream(join(place, 'audit.log'))
    renameSync(place, `${place}.1`)
    expect(() => stream.reopen?.()).toThrow('cannot write to')
    stream.write('{"a":1}\n')
    expect(textOf(join(`${place}.1`, 'audit.log'))).toBe('{"a":1}\n')
    mkdirSync(place)
    expect(stream.reopen?.()).toBe(true)
    stream.write('{"b":1}\n')
    expect(textOf(join(place, 'audit.log'))).toBe('{"b":1}\n')
  })
})

describe('required', () => {
  it('has a login wait until its line is durable, and an end for nothing', async () => {
    const syncs: PromiseWithResolvers<void>[] = []
    const sink: AuditSink = {
      write: () => undefined,
      sync() {
        const next = Promise.withResolvers<void>()
        syncs.push(next)
        return next.promise
      },
    }
    const audit = openAudit(sink, now, { required: true })
    expect(audit.write(1, END)).toBeUndefined()
    const waiting = audit.write(1, GRANTED)
    expect(syncs).toHaveLength(1)
    syncs[0]?.resolve()
    await waiting
    const failing = audit.write(1, GRANTED)
    syncs[1]?.reject(new Error('EIO'))
    await expect(failing).rejects.toThrow('EIO')
    expect(openAudit(sink, now).write(1, GRANTED)).toBeUndefined()
  })

  it('begins another chain where it is not sure that lines are there', async () => {
    let text = ''
    let fails = true
    const sink: AuditSink = {
      write: (line) => {
        text += line
      },
      sync: () => (fails ? Promise.reject(new Error('EIO')) : Promise.resolve()),
    }
    const audit = openAudit(sink, now, { seal: KEY, required: true })
    await expect(audit.write(1, GRANTED)).rejects.toThrow('EIO')
    fails = false
    await audit.write(1, GRANTED)
    expect(text.match(/seal_begin/g)).toHaveLength(2)
    expect((await verify(text, [audit.head()])).wrong).toEqual([])
  })

  it('begins one other chain, however many waited for a slow disk', async () => {
    let text = ''
    const syncs: PromiseWithResolvers<void>[] = []
    const sink: AuditSink = {
      write: (line) => {
        text += line
      },
      sync() {
        const next = Promise.withResolvers<void>()
        syncs.push(next)
        return next.promise
      },
    }
    const audit = openAudit(sink, now, { seal: KEY, required: true })
    const first = [audit.write(1, GRANTED), audit.write(2, GRANTED), audit.write(3, GRANTED)]
    syncs[0]?.reject(new Error('late'))
    await expect(first[0]).rejects.toThrow('late')
    const fresh = audit.write(4, GRANTED)
    for (const each of syncs.slice(1, 3)) each.reject(new Error('late'))
    for (const each of first) await expect(each).rejects.toThrow('late')
    say(audit, 'a')
    syncs[3]?.resolve()
    await fresh
    expect(text.match(/seal_begin/g)).toHaveLength(2)
    expect((await verify(text, [audit.head()])).wrong).toEqual([])
  })

  it('is a real fdatasync of a file; what can’t be synced lets nobody in', async () => {
    const audit = openAudit(openAuditStream(newFile()), now, { required: true })
    await Promise.all([audit.write(1, GRANTED), audit.write(2, GRANTED), audit.sync()])
    const nowhere = openAudit(openAuditStream('/dev/null'), now, { required: true })
    await expect(nowhere.write(1, GRANTED)).rejects.toThrow('nothing says when')
  })

  it('shares one wait among all who come meanwhile', async () => {
    const works: PromiseWithResolvers<void>[] = []
    const grouped = openGrouped(() => {
      const work = Promise.withResolvers<void>()
      works.push(work)
      return work.promise
    })
    const [first, second, third] = [grouped(), grouped(), grouped()]
    expect(works).toHaveLength(1)
    works[0]?.reject(new Error('EIO'))
    await expect(first).rejects.toThrow('EIO')
    // Those who came later have one of their own, between them.
    await expect.poll(() => works.length, { interval: 1 }).toBe(2)
    works[1]?.resolve()
    await Promise.all([second, third])
    const last = grouped()
    expect(works).toHaveLength(3)
    works[2]?.resolve()
    await last
  })

  it('waits for a disk that hangs once, and refuses at once until it is back', async () => {
    const works: PromiseWithResolvers<void>[] = []
    const sync = openWithin(
      () => {
        const work = Promise.withResolvers<void>()
        works.push(work)
        return work.promise
      },
      5,
      'late',
    )
    await expect(sync()).rejects.toThrow('late')
    for (let count = 0; count < 3; count++) await expect(sync()).rejects.toThrow('late')
    expect(works).toHaveLength(1)
    works[0]?.resolve()
    await works[0]?.promise
    const next = sync()
    works[1]?.resolve()
    await next
    const failing = sync()
    works[2]?.reject(new Error('EIO'))
    await expect(failing).rejects.toThrow('EIO')
    const again = sync()
    works[3]?.resolve()
    await again
  })
})

describe('a head', () => {
  it('is not kept of what a failed sync may have lost, whatever was broken meanwhile', async () => {
    const syncs: PromiseWithResolvers<void>[] = []
    let full = false
    const sink: AuditSink = {
      write() {
        if (full) throw new Error('ENOSPC')
      },
      sync() {
        const next = Promise.withResolvers<void>()
        syncs.push(next)
        return next.promise
      },
    }
    const audit = openAudit(sink, now, { seal: KEY })
    say(audit, 'a')
    const syncing = audit.sync()
    full = true
    expect(() => audit.write(1, END)).toThrow('ENOSPC')
    expect(audit.head()).toMatchObject({ seq: 1 })
    syncs[0]?.reject(new Error('EIO'))
    await expect(syncing).rejects.toThrow('EIO')
    expect(audit.head()).toBeUndefined()
  })
})
