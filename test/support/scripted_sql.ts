/** A scripted node that answers statements: text in, rows or a refusal out. */
import { error, type Script } from './scripted_node.ts'
import { message, uint32 } from './wire_client.ts'

export type SqlAnswer = Record<string, string | null>[] | { sqlstate: string; text: string }

export interface ScriptedSql {
  script: Script
  /** Statements as they came. */
  asked: string[]
}

/** @param answer - may wait; the node says nothing meanwhile. */
export function scriptedSql(answer: (sql: string) => SqlAnswer | Promise<SqlAnswer>): ScriptedSql {
  const asked: string[] = []
  const waiting = new WeakMap<object, Buffer>()
  const ready = message('Z', 'I')
  return {
    asked,
    script: {
      session(chunk, { socket, send }) {
        let bytes = Buffer.concat([waiting.get(socket) ?? Buffer.alloc(0), chunk])
        const queries: string[] = []
        while (bytes.length >= 5 && bytes.length > bytes.readUInt32BE(1)) {
          const size = bytes.readUInt32BE(1) + 1
          if (bytes[0] === 'Q'.charCodeAt(0)) queries.push(bytes.toString('utf8', 5, size - 1))
          if (bytes[0] === 'X'.charCodeAt(0)) socket.end()
          bytes = bytes.subarray(size)
        }
        waiting.set(socket, bytes)
        for (const sql of queries) {
          asked.push(sql)
          void Promise.resolve(answer(sql)).then((said) => {
            if (Array.isArray(said)) send(...rows(said), message('C', 'DONE\0'), ready)
            else send(error(said.sqlstate, said.text), ready)
          })
        }
      },
    },
  }
}

/** Rows of other columns than the row before have a description of their own. */
function rows(all: Record<string, string | null>[]): Buffer[] {
  let described = ''
  return all.flatMap((row) => {
    const names = Object.keys(row)
    const same = described === names.join()
    described = names.join()
    return same ? [line(row)] : [description(names), line(row)]
  })
}

function description(names: string[]): Buffer {
  return list(
    'T',
    names.map((name) => Buffer.concat([Buffer.from(`${name}\0`), Buffer.alloc(18)])),
  )
}

function line(row: Record<string, string | null>): Buffer {
  const values = Object.values(row).map((value) =>
    value === null
      ? uint32(-1)
      : Buffer.concat([uint32(Buffer.byteLength(value)), Buffer.from(value)]),
  )
  return list('D', values)
}

function list(type: string, parts: Buffer[]): Buffer {
  const count = Buffer.alloc(2)
  count.writeUInt16BE(parts.length)
  return message(type, Buffer.concat([count, ...parts]))
}
