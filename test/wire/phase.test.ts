import { describe, expect, test } from 'vitest'
import { Headers } from '../../src/wire/headers.ts'
import { Phase, sessionPhase } from '../../src/wire/phase.ts'

/**
 * A script: `>PBES` are messages from the client, `<12CZI` from the node (Z with its status), and
 * any other word is the state that the phase must be in.
 */
function check(script: string): void {
  const phase = new Phase()
  const words = script.split(' ')
  words.forEach((word, i) => {
    const so = words.slice(0, i + 1).join(' ')
    if (word.startsWith('>')) for (const type of word.slice(1)) phase.fromClient(type.charCodeAt(0))
    else if (word.startsWith('<'))
      for (const [type = '', status = ''] of word.slice(1).match(/Z.|./g) ?? [])
        phase.fromNode(type.charCodeAt(0), status === '' ? 0 : status.charCodeAt(0))
    else expect(`${so} => ${phase.state}`).toBe(`${so} => ${word}`)
  })
}

const SCRIPTS: Record<string, [name: string, script: string][]> = {
  'one thing at a time': [
    ['before anything was sent', 'quiet'],
    ['a query', '>Q busy <TDDC busy <ZI quiet'],
    ['an empty query', '>Q <I busy <ZI quiet'],
    ['a query that fails', '>Q <E busy <ZI quiet'],
    ['several statements', '>Q <CTDCC busy <ZI quiet'],
    ['a transaction', '>Q <CZT transaction >Q busy <CZT transaction >Q <CZI quiet'],
    ['a failed transaction', '>Q <CZT >Q <EZE failed >Q <EZE failed >Q <CZI quiet'],
    ['a function call', '>F busy <V busy <ZI quiet'],
    ['a status nobody knows', '>Q <CZx busy >Q <CZI quiet'],
    ['what comes by itself', '<A quiet <NS quiet >Q <N busy <SA busy <CNZI quiet'],
    ['an end without a question', 'quiet <E busy'],
    ['the client takes its leave', '>X busy <ZI busy'],
    ['a message that ends the connection', '>Q <CZI >p busy >Q <CZI busy'],
  ],
  pipelines: [
    ['queries', '>QQQ busy <CZI busy <CZI busy <CZI quiet'],
    ['extended', '>P busy >BES busy <12 busy <C busy <ZI quiet'],
    ['extended without Sync', '>PBE busy <12C busy >H busy >S busy <ZI quiet'],
    ['extended, failing', '>PBE <E busy >BE busy >S busy <ZI quiet'],
    ['extended, one behind another', '>PBES >BES <12CZI busy <2CZI quiet'],
    ['Syncs alone', '>SSS busy <ZIZI busy <ZI quiet'],
    ['Flush alone', '>H quiet >HS busy <ZI quiet'],
    ['a Query behind unsynced messages', '>CQ busy <3CZI quiet >S busy <ZI quiet'],
    ['such a Query, skipped', '>PQS <EZI busy >SQ <ZI busy <CZI quiet'],
    ['such a Sync, failing', '>PBEQSQ <12CCZT busy <EZI busy <CZI quiet'],
  ],
  'copy in by Query': [
    ['in steps', '>Q <G copying >dd copying >c copying <C busy <ZI quiet'],
    ['all at once', '>Qddc busy <G copying <C busy <ZI quiet'],
    ['Syncs inside', '>Q <G >dSdSSd copying >c copying <CZI quiet'],
    ['Syncs inside and behind', '>QSdSc busy >SS <GCZI busy <ZI busy <ZI quiet'],
    ['two copies', '>Q <G >dSdc <C busy <G copying >Sdc <C busy <ZI quiet'],
    ['two copies at once', '>QSdScSdcS <G copying <CG copying <CZI busy <ZI quiet'],
    ['given up', '>Q <G >df copying <E busy <ZI quiet'],
    ['failing, the rest comes late', '>Q <G >d <EZI quiet >ddc quiet'],
    ['refused, the rest was sent', '>Qddc <EZI quiet >Qc <CZI quiet'],
    ['failing with Syncs inside', '>Q <G >SdSc <EZI busy <ZI busy <ZI quiet'],
    ['the same, unanswered', '>Q <G >SdSc <EZI busy >Q busy <CZI quiet'],
    ['the same, one unanswered', '>Q <G >SdSc <EZI <ZI busy >Q <CZI quiet'],
    ['a Sync behind a failure', '>Q <G >d <EZI quiet >dScS busy <ZI busy <ZI quiet'],
    ['another query behind it', '>QdcQ <GCZI busy <CZI quiet'],
    ['another copy behind it', '>QdcQSdcS <GCZI <G copying <C busy <ZI busy <ZI quiet'],
    ['data that belongs to no copy', '>ddcf quiet >Qc <CZI quiet >c quiet'],
  ],
  'copy in by a Query behind unsynced messages': [
    ['and a Sync', '>PQSdcS <1GC busy <ZT busy <ZI quiet'],
    ['and a Sync that fails', '>BEQSdcS <2CGC busy <ZT busy <EZI quiet'],
    ['and more of them', '>PQSdcB <1GCZI busy >S <2 busy <ZI quiet'],
    ['and a copy by Execute', '>EQSdcBcPESdcS <CGCZI <GCC2C busy <ZI busy <ZI quiet'],
    ['and another Query', '>EQSdcQS <CGCZI <CZI busy <EZI quiet'],
    ['and another Query, and Syncs', '>EQSdcQSS <CGCZI <CZI busy <EZI busy <ZI quiet'],
    ['and another Query, the Sync to come', '>EQSdcQ <CGCZI <CZI quiet >SQ <EZI busy <CZI quiet'],
    ['and too much data', '>PQSdccBESdcS <1GCZI busy <2GCZI quiet'],
  ],
  'copy in by Execute': [
    ['as libpq does it', '>PBDES <12nG copying >dd >cS copying <C busy <ZI quiet'],
    ['Flush instead of Sync', '>PBEH <12G copying >ddcS <C busy <ZI quiet'],
    ['Sync after the answer', '>PBEH <12G copying >SddSc <C busy >S <ZI quiet'],
    ['all at once', '>PBESdcS <12G copying <CZI quiet'],
    ['all at once, one Sync', '>PBEdcS <12GC busy <ZI quiet'],
    ['no Sync yet', '>PBES <12G >dc <C busy <N busy >S busy <ZI quiet'],
    ['Syncs behind it', '>PBESdcSSS <12GCZI busy <ZI busy <ZI quiet'],
    ['two copies, one Sync', '>PBEdcBES <12G <C2G copying >dcS <CZI quiet'],
    ['two copies, one Sync, then their data', '>PBEBES <12G >dcdcS <C2G copying <CZI quiet'],
    ['behind a query whose copy never began', '>Qdc >PBESdcS <EZI <12GCZI quiet'],
    ['ended before a Query', '>BEcQPBEScS <2GC busy <CZI busy <12CZI busy <ZI quiet'],
    ['the same, data too much', '>PBEBES <12G >dcdcScS <C2G copying <CZI busy <ZI quiet'],
    ['three copies, data too much', '>PBEBEBESdcdcdcScS <2G <C2G <C2GCZI busy <ZI quiet'],
    ['more behind it', '>PBESdcPBES <12GC busy <12CZI quiet'],
    ['a Query behind it', '>PBESdcQ <12GC busy <CZI quiet >S <EZI quiet'],
    ['failing before its Sync', '>PBES <12GE busy <ZI quiet >cS busy <ZI quiet'],
    ['failing behind its Sync', '>PBES <12G >dcS <E busy <ZI busy >Q <CZI quiet'],
    ['the same, then another copy', '>PBESdcS <12GEZI busy >PBESdcS <12GCZI quiet'],
    ['given up', '>PBESfS <12GEZI busy >PBES <12CZI quiet'],
    ['behind a lone Sync', '>SPBESdcS <ZI <12GCZI quiet'],
  ],
  'other copies': [
    ['out', '>Q busy <H copying <ddd copying <c copying <C busy <ZI quiet'],
    ['out, failing', '>Q <Hd copying <E busy <ZI quiet'],
    ['out by Execute', '>PBES <12H copying <dcC busy <ZI quiet'],
    ['out, Syncs behind it are answered', '>QSS <HdcCZI busy <ZI busy <ZI quiet'],
    ['both ways', '>Q <W copying >dd <dd copying >c copying <c copying <C busy <ZI quiet'],
    ['both ways, the node ends it', '>Q <Wd copying <c >c copying <TDCC busy <ZI quiet'],
  ],
  'what a node may do that PostgreSQL does not': [
    ['ReadyForQuery without a question', '<ZT transaction >Q <ZT busy <CZI quiet'],
    ['a copy that reads other messages', '>QBESS <GEZI busy <ZI busy <ZI quiet'],
    ['a copy that reads a Query', '>QQDfQQSScQQcSPS <GEZI <CCZI <GCZI <CZI <GCZI <EZI busy'],
    ['no answer to a function call', '>F <E busy >S busy <ZI busy >Q <CZI quiet'],
    ['a copy that comes to no end', '>Q <G copying <ZI quiet'],
    ['a copy done without CopyDone', '>Q <GC busy <ZI quiet'],
  ],
}

describe.each(Object.entries(SCRIPTS))('%s', (_heading, scripts) => {
  test.each(scripts)('%s: %s', (_name, script) => check(script))
})

test('in the middle of a message on either leg', () => {
  const phase = new Phase()
  const client = new Headers('client', { header: (type) => phase.fromClient(type) })
  const node = new Headers('node', { header: (type, status) => phase.fromNode(type, status) })
  const steps: [headers: Headers, bytes: number[], state: string][] = [
    [client, [], 'quiet'],
    [client, [0x51], 'mid-message'],
    [client, [0, 0, 0, 5], 'mid-message'],
    [client, [0], 'busy'],
    [node, [0x43, 0, 0, 0, 4, 0x5a], 'mid-message'],
    [node, [0, 0, 0, 5], 'mid-message'],
    [node, [0x49], 'quiet'],
    [node, [0x4e], 'mid-message'],
  ]
  for (const [headers, bytes, state] of steps) {
    headers.push(Uint8Array.from(bytes))
    expect(sessionPhase(phase, client, node)).toBe(state)
  }
})

test('what is owed is counted in runs of like messages', () => {
  const rows: [sent: string, owed: number][] = [
    ['', 0],
    ['d'.repeat(100) + 'c'.repeat(100), 1],
    ['Q'.repeat(10_000), 1],
    ['S'.repeat(10_000), 1],
    ['PBES'.repeat(10_000), 1],
    ['QS'.repeat(5_000), 10_000],
    ['Qc'.repeat(500), 1_000],
    [`c${'Pc'.repeat(500)}`, 2],
  ]
  for (const [sent, owed] of rows) {
    const phase = new Phase()
    for (const type of sent) phase.fromClient(type.charCodeAt(0))
    expect([sent.slice(0, 9), phase.owed]).toEqual([sent.slice(0, 9), owed])
  }
})
