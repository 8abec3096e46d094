/** Gates before one node that is scripted, for a test file: they end with each test, the node with the file. */
import { afterAll, afterEach, beforeAll } from 'vitest'
import { type GateOptions, startGate, type TestGate } from './gate.ts'
import { type ScriptedNode, startScriptedNode } from './scripted_node.ts'

export interface ScriptedGates {
  /** Lets everybody in. Not there before the first test. */
  readonly node: ScriptedNode
  open(options?: Partial<GateOptions>): Promise<TestGate>
}

export function scriptedGates(): ScriptedGates {
  let node: ScriptedNode
  const gates: TestGate[] = []
  beforeAll(async () => {
    node = await startScriptedNode()
  })
  afterAll(() => node.close())
  afterEach(async () => {
    await Promise.all(gates.splice(0).map((gate) => gate.close()))
  })
  return {
    get node() {
      return node
    },
    async open(options = {}) {
      const gate = await startGate({ node: node.address, ...options })
      gates.push(gate)
      return gate
    },
  }
}
