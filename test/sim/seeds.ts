import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { commitOf, machineFacts } from '../bench/machine.ts'
import { judged, type Report } from '../bench/report.ts'
import { type FinishedRun, ResumeFile } from '../campaign/resume.ts'
import { runSeed, type SeedResult } from './run.ts'

export interface SeedsWish {
  readonly firstSeed: number
  /** At most so many seeds; none is begun after `minutes`. */
  readonly count: number
  readonly minutes: number | undefined
  /** Finished seeds are kept in this file and not run again while the sources stay as they are. */
  readonly resume: string | undefined
}

interface SeedReport extends Report {
  readonly firstSeed: number
  readonly violations: readonly { readonly seed: number; readonly violation: string }[]
  readonly faults: Readonly<Record<string, number>>
  readonly simulatedHours: number
}

const totals = ['events', 'checks', 'elections', 'operations', 'simulatedMs'] as const
const tellEvery = 500

/** Runs the seeds from `firstSeed` on, as many as are asked for. `tell` hears of every violation at once. */
export async function runSeeds(wish: SeedsWish, root: string, tell: (line: string) => void): Promise<SeedReport> {
  const { firstSeed, count, minutes = Number.POSITIVE_INFINITY } = wish
  const key = { campaign: 'sim', commit: commitOf(root), code: digestOf(root), configuration: { node: process.versions.node } }
  const kept = ResumeFile.open(wish.resume, key)
  if (kept.discarded !== undefined) tell(kept.discarded)
  const done = new Map(kept.finished.map((run) => [run.name, run]))
  const runs: FinishedRun[] = []
  const begunMs = performance.now()
  for (let seed = firstSeed; seed < firstSeed + count && performance.now() - begunMs < minutes * 60_000; seed++) {
    const run = done.get(nameOf(seed)) ?? (await finish(seed, kept))
    runs.push(run)
    for (const violation of run.violations) tell(`VIOLATED by ${run.name}: ${violation}; again: npm run sim -- --${run.name}`)
    if (runs.length % tellEvery === 0) tell(`${runs.length} seeds, ${Math.round((performance.now() - begunMs) / 1_000)} s`)
  }
  return reportOf(runs, firstSeed, root)
}

async function finish(seed: number, kept: ResumeFile): Promise<FinishedRun> {
  const begunMs = performance.now()
  const result = await runSeed(seed)
  const run = {
    name: nameOf(seed),
    violations: result.violation === undefined ? [] : [result.violation],
    counts: { ...Object.fromEntries(totals.map((name) => [name, result[name]])), ...prefixed(result) },
    tookMs: Math.round(performance.now() - begunMs)
  }
  kept.keep(run)
  return run
}

const nameOf = (seed: number): string => `seed ${seed}`
const faultPrefix = 'fault '
const prefixed = ({ faults }: SeedResult): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(faults).map(([name, n]) => [faultPrefix + name, n]))

function reportOf(runs: readonly FinishedRun[], firstSeed: number, root: string): SeedReport {
  const sums = new Map<string, number>()
  for (const { counts } of runs) {
    for (const [name, n] of Object.entries(counts)) sums.set(name, (sums.get(name) ?? 0) + n)
  }
  const violations = runs.flatMap(({ name, violations: all }) =>
    all.map((violation) => ({ seed: Number(name.split(' ')[1]), violation }))
  )
  const faults = [...sums].filter(([name]) => name.startsWith(faultPrefix))
  return {
    name: 'raft simulation',
    commit: commitOf(root),
    machine: machineFacts(),
    versions: { node: process.versions.node },
    firstSeed,
    violations,
    faults: Object.fromEntries(faults.map(([name, n]) => [name.slice(faultPrefix.length), n])),
    simulatedHours: Math.round((sums.get('simulatedMs') ?? 0) / 36_000) / 100,
    rows: [
      { name: 'seeds', n: runs.length },
      ...totals.filter((name) => name !== 'simulatedMs').map((name) => ({ name, n: sums.get(name) ?? 0 }))
    ],
    goals: [judged({ name: 'violated seeds', unit: 'seeds', bound: 'at most', goal: 0 }, violations.length)],
    notes: [
      'Core, log, snapshots, state machine and sessions are the real ones; disk, network and clock are simulated. What a state is',
      'was compared as a whole at every eighth index and at each snapshot.'
    ]
  }
}

/** Of the sources of the masters and of the simulation, and of what both stand on. */
function digestOf(root: string): string {
  const hash = createHash('sha256')
  for (const room of ['base', 'proto', 'master', 'test/sim', 'test/linearizability']) {
    for (const name of readdirSync(join(root, room), { recursive: true, encoding: 'utf8' }).sort()) {
      if (name.endsWith('.ts')) hash.update(name).update(readFileSync(join(root, room, name)))
    }
  }
  return hash.digest('hex').slice(0, 16)
}
