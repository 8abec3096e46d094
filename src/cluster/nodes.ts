/**
 * The nodes of a cluster: which one a session goes to, and what is tried when that one fails.
 * Rule: a node that fails costs a client nothing but time, and one overall deadline bounds that.
 */
import { asFailure, Failure } from '../failure.ts'
import type { Node } from './node.ts'

export interface Nodes {
  /**
   * Tries nodes, best first, until one of them works.
   * @throws what the last attempt threw
   */
  reach<T>(attempt: (node: Node) => Promise<T>, signal: AbortSignal): Promise<Reached<T>>
}

export interface Reached<T> {
  value: T
  node: Node
  /** Called once, when the session is over. */
  release(): void
}

export function openNodes(nodes: readonly [Node, ...Node[]]): Nodes {
  const sessions = new Map<Node, number>(nodes.map((node) => [node, 0]))
  const count = (node: Node, change: number) =>
    sessions.set(node, (sessions.get(node) ?? 0) + change)
  return {
    async reach(attempt, signal) {
      const order = nodes.toSorted((a, b) => (sessions.get(a) ?? 0) - (sessions.get(b) ?? 0))
      let last: unknown
      for (const node of order) {
        signal.throwIfAborted()
        count(node, 1)
        try {
          const value = await attempt(node)
          return { value, node, release: () => count(node, -1) }
        } catch (thrown) {
          count(node, -1)
          last = thrown
          if (!isWorthAnother(thrown)) throw thrown
        }
      }
      throw last
    },
  }
}

/** The node is not there, or not yet, or no more. */
function isWorthAnother(thrown: unknown): boolean {
  return thrown instanceof Failure && asFailure(thrown).code === 'node_unreachable'
}
