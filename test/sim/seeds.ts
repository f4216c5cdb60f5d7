import { commitOf, machineFacts } from '../bench/machine.ts'
import { judged, type Report } from '../bench/report.ts'
import type { Fault } from './nemesis.ts'
import { runSeed, type SeedResult } from './run.ts'

interface SeedReport extends Report {
  readonly firstSeed: number
  readonly violations: readonly Pick<SeedResult, 'seed' | 'violation'>[]
  readonly faults: Readonly<Record<Fault, number>>
  readonly simulatedHours: number
}

/** Runs `count` seeds from `firstSeed` on. `tell` hears of every violation at once. */
export async function runSeeds(
  firstSeed: number,
  count: number,
  root: string,
  tell: (line: string) => void
): Promise<SeedReport> {
  const totals = { events: 0, checks: 0, elections: 0, operations: 0, simulatedMs: 0 }
  const faults: Record<Fault, number> = {
    crash: 0,
    depose: 0,
    pause: 0,
    partition: 0,
    transfer: 0,
    membership: 0,
    stall: 0,
    full: 0,
    eio: 0,
    rot: 0,
    power: 0
  }
  const violations: Pick<SeedResult, 'seed' | 'violation'>[] = []
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const result = await runSeed(seed)
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += result[key]
    for (const fault of Object.keys(faults) as Fault[]) faults[fault] += result.faults[fault]
    if (result.violation === undefined) continue
    violations.push({ seed, violation: result.violation })
    tell(`VIOLATED by seed ${seed}: ${result.violation}`)
  }
  const { simulatedMs, ...counted } = totals
  return {
    name: 'raft simulation',
    commit: commitOf(root),
    machine: machineFacts(),
    versions: { node: process.versions.node },
    firstSeed,
    violations,
    faults,
    simulatedHours: Math.round(simulatedMs / 36_000) / 100,
    rows: [{ name: 'seeds', n: count }, ...Object.entries(counted).map(([name, n]) => ({ name, n }))],
    goals: [judged({ name: 'violated seeds', unit: 'seeds', bound: 'at most', goal: 0 }, violations.length)],
    notes: [
      'Core, log, snapshots, state machine and sessions are the real ones; disk, network and clock are simulated. What a state is',
      'was compared as a whole at every eighth index and at each snapshot.'
    ]
  }
}
