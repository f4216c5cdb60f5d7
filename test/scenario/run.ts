import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ConfChanges } from './confchange.ts'
import { parseScenario, type ScenarioCase, ScenarioRefused } from './format.ts'
import { Interaction } from './interaction.ts'
import { runQuorumCase } from './quorum.ts'

export interface Deviation {
  readonly line: number
  readonly command: string
  readonly expected: string
  readonly actual: string
}

export interface ScenarioResult {
  readonly file: string
  readonly kind: 'quorum' | 'confchange' | 'interaction' | 'unknown'
  readonly cases: number
  /** Of the first case that deviates: what follows would deviate for its sake. */
  readonly deviation: Deviation | undefined
  readonly refused: string | undefined
}

/** A log line tells how the program came to what it did; only what it did is compared. */
const logLine = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /

function withoutLogLines(text: string): string {
  return text
    .split('\n')
    .filter((line) => !logLine.test(line))
    .join('\n')
    .trimEnd()
}

/** Our core prints no log lines, so a case that prints nothing else says "ok". */
function sameButForLogLines(expected: string, actual: string): boolean {
  const wanted = withoutLogLines(expected)
  return wanted === actual.replace(/\n$/, '') || (wanted === '' && expected !== '' && actual === 'ok')
}

const isSame = (expected: string, actual: string): boolean => expected === actual.replace(/\n$/, '')

interface Runner {
  readonly kind: ScenarioResult['kind']
  readonly run: (scenario: ScenarioCase) => string
  readonly agrees: (expected: string, actual: string) => boolean
}

function runnerFor(first: ScenarioCase): Runner {
  if (['committed', 'vote'].includes(first.command)) return { kind: 'quorum', run: runQuorumCase, agrees: isSame }
  if (['simple', 'enter-joint', 'leave-joint'].includes(first.command)) {
    const changes = new ConfChanges()
    return { kind: 'confchange', run: (scenario) => changes.run(scenario), agrees: isSame }
  }
  const interaction = new Interaction()
  return { kind: 'interaction', run: (scenario) => interaction.run(scenario), agrees: sameButForLogLines }
}

/** Runs one scenario file to its end, or to its first deviation. */
export function runScenario(file: string, text: string): ScenarioResult {
  let kind: ScenarioResult['kind'] = 'unknown'
  let count = 0
  const result = (more: Partial<ScenarioResult>): ScenarioResult => {
    return { file, kind, cases: count, deviation: undefined, refused: undefined, ...more }
  }
  try {
    const cases = parseScenario(text)
    const [first] = cases
    if (first === undefined) return result({ refused: 'no cases in this file' })
    const runner = runnerFor(first)
    kind = runner.kind
    for (const scenario of cases) {
      count++
      const actual = outputOf(runner, scenario)
      if (runner.agrees(scenario.expected, actual)) continue
      const { line, command, expected } = scenario
      return result({ deviation: { line, command, expected, actual } })
    }
    return result({})
  } catch (error) {
    if (!(error instanceof ScenarioRefused)) throw error
    return result({ refused: error.message })
  }
}

/** A broken invariant of the core is what the case prints, and so a deviation. */
function outputOf(runner: Runner, scenario: ScenarioCase): string {
  try {
    return runner.run(scenario)
  } catch (error) {
    if (error instanceof ScenarioRefused) throw new ScenarioRefused(`line ${scenario.line}: ${error.message}`)
    return `the core failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
  }
}

/** All scenario files (*.txt) below `folder`, in the order of their paths. */
export function runFolder(folder: string): readonly ScenarioResult[] {
  const paths = statSync(folder).isFile()
    ? [folder]
    : readdirSync(folder, { recursive: true }).map((path) => join(folder, String(path)))
  const files = paths.filter((path) => path.endsWith('.txt') && statSync(path).isFile()).sort()
  return files.map((path) => runScenario(relative(folder, path) || path, readFileSync(path, 'utf8')))
}

/** The file with what our core prints in place of what was expected; to be read before it is believed. */
export function rewriteScenario(text: string): string {
  const lines = text.split('\n')
  const cases = parseScenario(text)
  const [first] = cases
  if (first === undefined) return text
  const runner = runnerFor(first)
  const rewritten: string[] = []
  let copied = 0
  for (const scenario of cases) {
    const actual = outputOf(runner, scenario).trimEnd()
    const isBroken = /^$/m.test(actual)
    rewritten.push(...lines.slice(copied, scenario.from), ...(isBroken ? ['----', actual, '----', '----'] : [actual]))
    copied = scenario.to
  }
  return [...rewritten, ...lines.slice(copied)].join('\n')
}
