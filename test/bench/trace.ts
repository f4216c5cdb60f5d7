import { readFileSync } from 'node:fs'
import { median, rounded } from './statistics.ts'

interface Step {
  readonly step: string
  readonly what: string
  readonly sinceNs: number
  readonly untilNs: number
}

export interface Span {
  readonly id: string
  readonly receivedNs: number
  readonly firstByteNs: number
}

/** Where the agent's milliseconds went: the steps between order and first byte, by name and place in the launch. */
export function renderTrace(path: string, spans: readonly Span[]): string {
  const steps = readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Step)
  const found = new Map<string, { at: number[]; took: number[] }>()
  for (const span of spans) {
    const seen = new Map<string, number>()
    for (const step of steps.filter((s) => s.sinceNs >= span.receivedNs && s.sinceNs <= span.firstByteNs).sort(bySince)) {
      const name = `${step.step} ${shortened(step.what, span.id)}`.trim()
      const count = (seen.get(name) ?? 0) + 1
      seen.set(name, count)
      const key = count === 1 ? name : `${name} #${count}`
      const row = found.get(key) ?? { at: [], took: [] }
      row.at.push((step.sinceNs - span.receivedNs) / 1e6)
      row.took.push((step.untilNs - step.sinceNs) / 1e6)
      found.set(key, row)
    }
  }
  const rows = [...found]
    .filter(([, row]) => row.at.length * 2 >= spans.length)
    .map(([name, row]) => ({ name, at: median(row.at), took: median(row.took) }))
    .sort((a, b) => a.at - b.at)
  const whole = rounded(median(spans.map((s) => (s.firstByteNs - s.receivedNs) / 1e6)))
  return [
    `the median of ${spans.length} launches, ${whole} ms; the tracing itself costs some of it`,
    '    at ms   took ms  step',
    ...rows.filter((r) => !isShare(r)).map((r) => `${r.at.toFixed(2).padStart(9)} ${r.took.toFixed(2).padStart(9)}  ${r.name}`),
    ...shares(rows),
    `${whole.toFixed(2).padStart(9)}            the first byte; what comes after the fork is conmon, the runtime and the container`,
    ''
  ].join('\n')
}

interface Row {
  readonly name: string
  readonly took: number
}

const share = 'isolator '
const isShare = ({ name }: Row): boolean => name.startsWith(share)

/** Each isolator's share of the preparation; what it waits for runs beside the monitor's start. */
function shares(rows: readonly Row[]): readonly string[] {
  const own = rows.filter(isShare)
  const all = own.reduce((sum, { took }) => sum + took, 0)
  return own.map(
    ({ name, took }) => `${`${((took * 100) / all).toFixed(0)} %`.padStart(9)} ${took.toFixed(2).padStart(9)}  ${name}`
  )
}

const bySince = (a: Step, b: Step): number => a.sinceNs - b.sinceNs

/** The same step of two launches must have the same name. */
const shortened = (what: string, id: string): string => {
  const plain = what.replaceAll(id, 'ID').replaceAll(/\d{3,}/g, 'N')
  return plain.length > 70 ? `…${plain.slice(-69)}` : plain
}
