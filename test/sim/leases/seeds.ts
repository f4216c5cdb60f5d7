import { commitOf, machineFacts } from '../../bench/machine.ts'
import { judged, type Report } from '../../bench/report.ts'
import { type LeaseSeedResult, runLeaseSeed } from './world.ts'

interface LeaseReport extends Report {
  readonly firstSeed: number
  readonly violations: readonly { readonly seed: number; readonly violation: string }[]
}

/** Runs the seeds from `firstSeed` on. `tell` hears of every violation at once. */
export async function runLeaseSeeds(
  firstSeed: number,
  count: number,
  root: string,
  tell: (line: string) => void
): Promise<LeaseReport> {
  const results: LeaseSeedResult[] = []
  for (let seed = firstSeed; seed < firstSeed + count; seed += 1) {
    const result = await runLeaseSeed(seed)
    results.push(result)
    const { violation } = result
    if (violation !== undefined) tell(`VIOLATED by seed ${seed}: ${violation}; again: npm run sim -- leases --seed ${seed}`)
  }
  const violations = results.flatMap(({ seed, violation }) => (violation === undefined ? [] : [{ seed, violation }]))
  const sum = (of: (result: LeaseSeedResult) => number): number => results.reduce((all, one) => all + of(one), 0)
  return {
    name: 'simulation of leases',
    commit: commitOf(root),
    machine: machineFacts(),
    versions: { node: process.versions.node },
    firstSeed,
    violations,
    rows: [
      { name: 'seeds', n: results.length },
      { name: 'simulated minutes', n: Math.round(sum((one) => one.simulatedMs) / 60_000) },
      { name: 'containers that began', n: sum((one) => one.began) },
      { name: 'terms of leaders', n: sum((one) => one.terms) },
      { name: 'agents frozen, killed or cut off', n: sum((one) => one.agentFaults) }
    ],
    goals: [judged({ name: 'violated seeds', unit: 'seeds', bound: 'at most', goal: 0 }, violations.length)],
    notes: [
      'Core, log, state machine and grantor of the masters and the lease of the agents are the real ones; network, disks, clocks and the',
      'watchdog are simulated. Clocks differ by up to 5 % in rate.'
    ]
  }
}
