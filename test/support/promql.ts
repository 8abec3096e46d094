/**
 * PromQL as far as our alerts and our dashboard use it: what an expression asks for, by metric and label.
 * Whatever it doesn't know it refuses. https://prometheus.io/docs/prometheus/latest/querying/basics/
 */

/** A metric's name with the labels that are asked for, and those by which the result is grouped or joined. */
export interface Selector {
  metric: string
  labels: string[]
}

export interface Query {
  selectors: Selector[]
  /** Labels of `by`, `on`, `ignoring` and their like. */
  groupedBy: string[]
}

type Kind = 'vector' | 'range' | 'number'

const TOKEN =
  /\s*(?:([a-zA-Z_:][\w:]*)|(\d+(?:\.\d+)?(?:ms|[smhdwy])?)|("(?:[^"\\]|\\.)*")|(!~|=~|!=|==|<=|>=|[-+*/%^(){}[\],=<>]))/y
const FUNCTIONS: Record<string, Kind[]> = {
  rate: ['range'],
  increase: ['range'],
  histogram_quantile: ['number', 'vector'],
  sort: ['vector'],
  time: [],
}
const AGGREGATIONS = ['sum', 'min', 'max', 'avg', 'count']
/** From the loosest to the closest. */
const OPERATORS = [
  ['or'],
  ['and', 'unless'],
  ['==', '!=', '<', '>', '<=', '>='],
  ['+', '-'],
  ['*', '/', '%'],
]

/** @throws an Error that says what is wrong, and where. */
export function readQuery(text: string): Query {
  const tokens = tokensOf(text)
  const query: Query = { selectors: [], groupedBy: [] }
  let at = 0
  const wrong = (what: string) => new Error(`${what} before ${tokens.slice(at).join(' ')}: ${text}`)
  const peek = () => tokens[at]
  const take = (wanted?: string) => {
    const token = tokens[at]
    if (token === undefined || (wanted !== undefined && token !== wanted))
      throw wrong(`${wanted ?? 'something'} is missing`)
    at++
    return token
  }
  const list = <T>(open: string, close: string, item: () => T): T[] => {
    const items: T[] = []
    take(open)
    while (peek() !== close) {
      items.push(item())
      if (peek() !== close) take(',')
    }
    take(close)
    return items
  }
  const name = () => {
    const token = take()
    if (!/^[a-zA-Z_]\w*$/.test(token)) throw wrong(`${token} is no name`)
    return token
  }
  const grouping = () => {
    if (peek() === 'by' || peek() === 'without') {
      take()
      query.groupedBy.push(...list('(', ')', name))
    }
  }
  const matcher = () => {
    const label = name()
    if (!['=', '!=', '=~', '!~'].includes(take())) throw wrong('an operator is missing')
    if (!take().startsWith('"')) throw wrong('a text is missing')
    return label
  }
  const selector = (): Kind => {
    const metric = name()
    const labels = peek() === '{' ? list('{', '}', matcher) : []
    query.selectors.push({ metric, labels })
    if (peek() !== '[') return 'vector'
    take('[')
    if (!/^\d+[smhdwy]$/.test(take())) throw wrong('a duration is missing')
    take(']')
    return 'range'
  }
  const call = (): Kind => {
    const wanted = FUNCTIONS[take()] ?? []
    const given = list('(', ')', expression)
    if (given.join() !== wanted.join()) throw wrong(`(${given}) is given, and (${wanted}) wanted`)
    return wanted.length === 0 ? 'number' : 'vector'
  }
  const aggregation = (): Kind => {
    take()
    grouping()
    const given = list('(', ')', expression)
    if (given.join() !== 'vector') throw wrong(`an aggregation of (${given})`)
    grouping()
    return 'vector'
  }
  const primary = (): Kind => {
    const token = peek() ?? ''
    if (token === '(') {
      take()
      const kind = expression()
      take(')')
      return kind
    }
    if (/^\d+(\.\d+)?$/.test(token)) {
      take()
      return 'number'
    }
    if (Object.hasOwn(FUNCTIONS, token)) return call()
    return AGGREGATIONS.includes(token) ? aggregation() : selector()
  }
  const joining = () => {
    if (peek() !== 'on' && peek() !== 'ignoring') return
    take()
    query.groupedBy.push(...list('(', ')', name))
    if (peek() === 'group_left' || peek() === 'group_right') {
      take()
      if (peek() === '(') query.groupedBy.push(...list('(', ')', name))
    }
  }
  const binary = (level: number): Kind => {
    const operators = OPERATORS[level]
    if (operators === undefined) return primary()
    let kind = binary(level + 1)
    while (operators.includes(peek() ?? '')) {
      take()
      joining()
      const other = binary(level + 1)
      if (kind === 'range' || other === 'range') throw wrong('a range has no operator')
      kind = kind === 'vector' || other === 'vector' ? 'vector' : 'number'
    }
    return kind
  }
  function expression(): Kind {
    return binary(0)
  }
  if (expression() !== 'vector') throw wrong('it is no vector')
  if (at < tokens.length) throw wrong('something is left')
  return query
}

function tokensOf(text: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const from = TOKEN.lastIndex
    const found = TOKEN.exec(text)
    if (found === null) throw new Error(`unknown: ${text.slice(from)}`)
    tokens.push(found[0].trim())
  }
  return tokens
}
