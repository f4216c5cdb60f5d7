/** A scenario that cannot be run as it stands: it says what the adapter does not understand. */
export class ScenarioRefused extends Error {
  override readonly name = 'ScenarioRefused'
}

export interface Argument {
  readonly key: string
  readonly values: readonly string[]
}

export interface ScenarioCase {
  readonly line: number
  readonly command: string
  readonly args: readonly Argument[]
  readonly input: string
  readonly expected: string
  /** The lines after the separator that hold what is expected, as [from, to). */
  readonly from: number
  readonly to: number
}

const separator = '----'

/** `name arg key=value key=(value, value)`. */
export function parseDirective(text: string): { command: string; args: readonly Argument[] } {
  const rest = /^\s*(\S+)\s*(.*)$/s.exec(text)
  if (rest === null) throw new ScenarioRefused(`no command in "${text}"`)
  const [, command = '', tail = ''] = rest
  const args: Argument[] = []
  let at = 0
  const argument = /\s*([^\s=]+)(?:=(?:\(([^)]*)\)|([^\s()]*)))?/y
  while (at < tail.trimEnd().length) {
    argument.lastIndex = at
    const match = argument.exec(tail)
    if (match === null) throw new ScenarioRefused(`cannot read the arguments of "${text}"`)
    at = argument.lastIndex
    const [, key = '', list, single] = match
    const values = list === undefined ? (single === undefined ? [] : [single]) : list.split(/[,\s]+/).filter((v) => v !== '')
    args.push({ key, values })
  }
  return { command, args }
}

/** Reads the cases of one file: a directive, input lines, `----`, and what is expected up to the next blank line. */
export function parseScenario(text: string): readonly ScenarioCase[] {
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  const cases: ScenarioCase[] = []
  for (let at = 0; at < lines.length; ) {
    const start = lines[at]?.trim() ?? ''
    if (start === '' || start.startsWith('#')) {
      at++
      continue
    }
    const line = at + 1
    let directive = start
    while (directive.endsWith('\\')) directive = `${directive.slice(0, -1).trimEnd()} ${lines[++at]?.trim() ?? ''}`
    const inputFrom = ++at
    while (at < lines.length && lines[at] !== separator) at++
    if (at === lines.length) throw new ScenarioRefused(`line ${line}: no ${separator} after the command`)
    const input = lines.slice(inputFrom, at).join('\n')
    const expectation = readExpectation(lines, at + 1)
    at = expectation.next
    cases.push({ line, ...parseDirective(directive), input, expected: expectation.text, from: expectation.from, to: at })
  }
  return cases
}

function readExpectation(lines: readonly string[], from: number): { text: string; from: number; next: number } {
  const isDoubled = lines[from] === separator
  const start = isDoubled ? from + 1 : from
  let end = start
  const isEnd = (at: number) => (isDoubled ? lines[at] === separator && lines[at + 1] === separator : lines[at] === '')
  while (end < lines.length && !isEnd(end)) end++
  return { text: lines.slice(start, end).join('\n'), from, next: isDoubled ? end + 2 : end }
}

/** The one value of `key`, undefined where it is not given. */
export const argumentOf = (args: readonly Argument[], key: string): string | undefined =>
  args.find((arg) => arg.key === key)?.values[0]

export const numbersOf = (args: readonly Argument[], key: string): readonly number[] =>
  (args.find((arg) => arg.key === key)?.values ?? []).map(wholeNumber)

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new ScenarioRefused(`"${text}" is no number`)
  return Number(text)
}

export function booleanOf(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw new ScenarioRefused(`"${text}" is neither true nor false`)
  return text === 'true'
}
