import { accessSync, constants, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { rounded } from './statistics.ts'

/** The one shape of every bench, campaign and simulation. A figure that a row has not is left out. */
export interface Report {
  readonly name: string
  readonly commit: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly rows: readonly Row[]
  readonly goals: readonly Goal[]
  readonly notes: readonly string[]
}

export interface Row {
  readonly name: string
  readonly n: number
  readonly p50Ms?: number
  readonly p90Ms?: number
  readonly p99Ms?: number
  readonly perSecond?: number
  readonly rssMb?: number
  readonly pssMb?: number
  /** Of one core. */
  readonly cpuPercent?: number
  /** Of the whole machine while the row ran, divided by n: only worth something where nothing else runs. */
  readonly cpuMsEach?: number
  /** Against the row that the bench names as reference. */
  readonly p50Ratio?: number
  readonly p99Ratio?: number
  readonly perSecondRatio?: number
  readonly note?: string
}

export interface Goal {
  readonly name: string
  readonly unit: string
  readonly bound: 'at most' | 'at least'
  readonly goal: number
  /** null: not measured, and `note` says why. */
  readonly actual: number | null
  readonly met: boolean | null
  readonly note?: string
}

type Wish = Pick<Goal, 'name' | 'unit' | 'bound' | 'goal'>

export function judged(wish: Wish, actual: number | undefined, why = 'not measured'): Goal {
  if (actual === undefined || !Number.isFinite(actual)) return { ...wish, actual: null, met: null, note: why }
  return { ...wish, actual: rounded(actual), met: wish.bound === 'at most' ? actual <= wish.goal : actual >= wish.goal }
}

/** Adds what each row is against `reference`, where both have the figure. */
export function withRatios(rows: readonly Row[], reference: Row | undefined): readonly Row[] {
  return rows.map((row) => {
    const p50 = ratio(row.p50Ms, reference?.p50Ms)
    const p99 = ratio(row.p99Ms, reference?.p99Ms)
    const rate = ratio(row.perSecond, reference?.perSecond)
    return {
      ...row,
      ...(p50 === undefined ? {} : { p50Ratio: p50 }),
      ...(p99 === undefined ? {} : { p99Ratio: p99 }),
      ...(rate === undefined ? {} : { perSecondRatio: rate })
    }
  })
}

export const ratio = (own: number | undefined, other: number | undefined): number | undefined =>
  own === undefined || other === undefined || other === 0 ? undefined : rounded(own / other)

/** Throws `Fault('invalid')` before the minutes that a report takes, rather than after them. */
export function checkReportPlace(path: string | undefined): void {
  if (path === undefined) return
  try {
    accessSync(dirname(path), constants.W_OK)
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return
  } catch (cause) {
    throw new Fault('invalid', `--json: ${path} cannot be written (${errnoOf(cause) ?? String(cause)})`, {}, cause)
  }
  throw new Fault('invalid', `--json: ${path} is a folder; name a file`)
}

export function writeReport(path: string, report: Report): void {
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
}

const columns = [
  ['n', 'n', 0],
  ['p50 ms', 'p50Ms', 1],
  ['p90 ms', 'p90Ms', 1],
  ['p99 ms', 'p99Ms', 1],
  ['per s', 'perSecond', 1],
  ['RSS MB', 'rssMb', 1],
  ['PSS MB', 'pssMb', 2],
  ['CPU %', 'cpuPercent', 2],
  ['CPU ms each', 'cpuMsEach', 1],
  ['p50 x', 'p50Ratio', 2],
  ['p99 x', 'p99Ratio', 2],
  ['per s x', 'perSecondRatio', 2]
] as const

/** For a terminal: columns that no row fills are left away; notes stand below. */
export function renderReport(report: Report): string {
  const used = columns.filter(([, key]) => report.rows.some((r) => r[key] !== undefined))
  const cells = [
    ['', ...used.map(([title]) => title)],
    ...report.rows.map((r) => [r.name, ...used.map(([, key, digits]) => r[key]?.toFixed(digits) ?? '')])
  ]
  const widths = cells[0]?.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0))) ?? []
  const table = cells.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
  )
  return [
    `${report.name} at ${report.commit}`,
    pairs(report.machine),
    pairs(report.versions),
    '',
    ...table.map((line) => line.join('  ').trimEnd()),
    ...report.rows.flatMap((r) => (r.note === undefined ? [] : [`  ${r.name}: ${r.note}`])),
    ...(report.goals.length === 0 ? [] : ['', ...report.goals.map(renderGoal)]),
    ...(report.notes.length === 0 ? [] : ['', ...report.notes]),
    ''
  ].join('\n')
}

const pairs = (facts: Readonly<Record<string, string | number>>): string =>
  Object.entries(facts)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ')

export function renderGoal(goal: Goal): string {
  const wanted = `${goal.name}: ${goal.bound} ${goal.goal} ${goal.unit}`
  if (goal.actual === null) return `?      ${wanted} (${goal.note ?? 'not measured'})`
  if (goal.met === true) return `met    ${wanted}, is ${goal.actual}`
  const by = rounded(Math.abs(goal.actual - goal.goal))
  const percent = goal.goal === 0 ? '' : `, ${Math.round((by / goal.goal) * 100)} %`
  return `MISSED ${wanted}, is ${goal.actual} (by ${by}${percent})`
}
