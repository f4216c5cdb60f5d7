import { Fault } from '../../base/fault.ts'
import type { Cleanup } from '../bench/cleanup.ts'
import type { Goal, Row } from '../bench/report.ts'
import { spreadOf } from '../bench/statistics.ts'
import type { FinishedRun, RunResult } from './resume.ts'

/** What is set on the command line for every campaign. */
export interface CampaignWish {
  /** undefined: as many as fit into the time. */
  readonly runs: number | undefined
  readonly seed: number
  readonly long: boolean
  /** The campaign's own options, by name. */
  readonly more: Readonly<Record<string, string | undefined>>
}

/** Where a campaign works: a directory of its own that is removed at the end, and one for what failed runs leave to read. */
export interface CampaignPlace {
  /** Of the checkout that is tested; its programs lie in `dist/`. */
  readonly root: string
  readonly directory: string
  readonly failures: string
  readonly cleanup: Cleanup
  readonly signal: AbortSignal
}

/** One kind of campaign, a row of main.ts. */
export interface CampaignKind {
  /** For the help text. */
  readonly summary: string
  /** Files and folders of test/campaign that decide what a run does: a change of them discards finished runs. */
  readonly sources: readonly string[]
  /** In dist/, where they are others than those of the agent. */
  readonly programs?: readonly string[]
  /** Nothing of it is about what a disk keeps: it works in memory. */
  readonly inMemory?: boolean
  /** Own options with what they mean; each takes a value. */
  readonly options: Readonly<Record<string, string>>
  open(place: CampaignPlace, wish: CampaignWish): Promise<Campaign>
}

/** A campaign is a list of independent runs. Each is named, and a function of its name and the configuration as far as the kernel allows. */
export interface Campaign {
  /** All that decides how a run goes, besides the code and its name: finished runs of another configuration are not counted. */
  readonly configuration: Readonly<Record<string, string | number | boolean>>
  /** Runs side by side. */
  readonly lanes: number
  /** How long runs are started, where the campaign itself decides that. */
  readonly limitMs?: number | undefined
  /** So many failed runs end it. Default 20: more of them tell nothing new. */
  readonly failuresMost?: number
  /** In order; may be endless where nobody said how many. */
  names(): Iterable<string>
  /** Rejects only where the run could not be carried out, which counts as a failed one. */
  run(name: string, signal: AbortSignal): Promise<RunResult>
  /** Arguments of `npm run campaign --` that repeat one run alone. */
  replay(name: string): string
  /** What the campaign itself counts, over all finished runs. */
  report(finished: readonly FinishedRun[]): { readonly rows: readonly Row[]; readonly notes: readonly string[] }
}

export interface RunnerParts {
  readonly nowMs: () => number
  /** Takes one line that replaces the one before. */
  readonly progress: (text: string) => void
  /** Takes lines that stay. */
  readonly tell: (text: string) => void
  /** Makes a finished run durable. */
  readonly keep: (run: FinishedRun) => void
}

const failuresMostDefault = 20
/** Of one failed run. */
const sentencesMost = 20

/** Does every run that is not finished yet. Starts none after `budgetMs`. Returns all runs, those that were finished before included. */
export async function runCampaign(
  campaign: Campaign,
  finishedBefore: readonly FinishedRun[],
  parts: RunnerParts,
  limits: { readonly budgetMs: number; readonly signal: AbortSignal }
): Promise<readonly FinishedRun[]> {
  const finished = [...finishedBefore]
  const known = new Set(finished.map((r) => r.name))
  const names = campaign.names()[Symbol.iterator]()
  const startMs = parts.nowMs()
  const failuresMost = campaign.failuresMost ?? failuresMostDefault
  let failures = finished.filter((r) => r.violations.length > 0).length
  const next = (): string | undefined => {
    if (limits.signal.aborted || failures >= failuresMost || parts.nowMs() - startMs > limits.budgetMs) return undefined
    for (let name = names.next(); name.done !== true; name = names.next()) if (!known.has(name.value)) return name.value
    return undefined
  }
  const lane = async (): Promise<void> => {
    for (let name = next(); name !== undefined; name = next()) {
      known.add(name)
      const run = await oneRun(campaign, name, parts.nowMs, limits.signal)
      if (run === undefined) return
      finished.push(run)
      parts.keep(run)
      if (run.violations.length > 0) {
        failures += 1
        parts.tell(failureText(campaign, run))
      }
      parts.progress(`${finished.length} runs, ${failures} failed, ${Math.round((parts.nowMs() - startMs) / 1000)} s`)
    }
  }
  await Promise.all(Array.from({ length: campaign.lanes }, lane))
  return finished
}

/** undefined where the campaign was stopped in the middle of the run. */
async function oneRun(
  campaign: Campaign,
  name: string,
  nowMs: () => number,
  signal: AbortSignal
): Promise<FinishedRun | undefined> {
  const startMs = nowMs()
  try {
    const result = await campaign.run(name, signal)
    return signal.aborted ? undefined : { name, tookMs: Math.round(nowMs() - startMs), ...result }
  } catch (e) {
    if (signal.aborted) return undefined
    const why = e instanceof Fault ? e.message : e instanceof Error ? (e.stack ?? e.message) : String(e)
    return { name, tookMs: Math.round(nowMs() - startMs), violations: [`the run could not be carried out: ${why}`], counts: {} }
  }
}

export const failureText = (campaign: Campaign, run: FinishedRun): string =>
  [
    `FAILED ${run.name}`,
    ...run.violations.slice(0, sentencesMost).map((v) => `  ${v}`),
    ...(run.violations.length > sentencesMost ? [`  and ${run.violations.length - sentencesMost} more`] : []),
    `  again: npm run campaign -- ${campaign.replay(run.name)}`
  ].join('\n')

/** Rows and the goal that every campaign has. */
export function summary(finished: readonly FinishedRun[]): { readonly rows: readonly Row[]; readonly goals: readonly Goal[] } {
  const failed = finished.filter((r) => r.violations.length > 0)
  const clean = { name: 'runs clean', unit: 'runs', bound: 'at least', goal: finished.length } as const
  return {
    rows: [
      { name: 'runs', ...spreadOf(finished.map((r) => r.tookMs)) },
      { name: 'runs with a broken invariant', n: failed.length }
    ],
    goals: [{ ...clean, actual: finished.length - failed.length, met: failed.length === 0 && finished.length > 0 }]
  }
}

/** The sum of one count over all runs. */
export const total = (finished: readonly FinishedRun[], count: string): number =>
  finished.reduce((sum, run) => sum + (run.counts[count] ?? 0), 0)

/** One of the campaign's own options as a whole number; undefined where it was not given. Throws `Fault('invalid')`. */
export function numberOption(wish: CampaignWish, flag: string, least: number): number | undefined {
  const given = wish.more[flag]
  if (given === undefined) return undefined
  const value = Number(given)
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new Fault('invalid', `--${flag} must be a whole number of at least ${least}, not ${JSON.stringify(given)}`)
}
