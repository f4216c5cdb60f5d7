import type { Probe, ProbePurpose } from '../../proto/gen/messages.ts'

/** What the results of a task's probes mean. Pure. */

type Purpose = Exclude<ProbePurpose, 'unspecified_probe'>

export const probeDefaults = { intervalMs: 10_000, timeoutMs: 5_000, successes: 1, failures: 3 } as const

export interface CheckResult {
  readonly ok: boolean
  /** What was seen, for people. */
  readonly message: string
}

/** In a row, since the last result of the other kind. */
interface Run {
  readonly good: number
  readonly bad: number
}

export interface Health {
  /** The start-up probe, where there is one, has succeeded: the others run. */
  readonly startedUp: boolean
  /** The verdicts that stand; of one that is not there yet: false. */
  readonly well: Readonly<Record<'readiness' | 'liveness', boolean>>
  readonly runs: Readonly<Record<Purpose, Run>>
}

export interface Step {
  readonly health: Health
  /** The attempt must end, for this reason. */
  readonly failed?: string
}

const none: Run = { good: 0, bad: 0 }

/** `known`: what the attempt's last status said; a verdict stands until a probe fails, whatever became of the agent. */
export function beginHealth(probes: readonly Probe[], known: { readonly startedUp: boolean; readonly ready: boolean }): Health {
  const has = (purpose: Purpose): boolean => probes.some((p) => p.purpose === purpose)
  return {
    startedUp: known.startedUp || known.ready || !has('startup'),
    well: { readiness: known.ready || !has('readiness'), liveness: known.ready || !has('liveness') },
    runs: { startup: none, readiness: none, liveness: none }
  }
}

export const isReady = ({ startedUp, well }: Health): boolean => startedUp && well.readiness && well.liveness

/** Whether a probe is to be run now: first the start-up probe alone, then the others. */
export const isDue = ({ startedUp }: Health, purpose: ProbePurpose): boolean => (purpose === 'startup') !== startedUp

/** `ranMs`: how long the attempt has been running. */
export function takeResult(health: Health, probe: Probe, result: CheckResult, ranMs: number): Step {
  const { purpose } = probe
  if (purpose === 'unspecified_probe' || !isDue(health, purpose)) return { health }
  const before = health.runs[purpose]
  // Within its grace an attempt that was never well is still coming up.
  const excused = !result.ok && ranMs < probe.graceMs && !(purpose !== 'startup' && health.well[purpose])
  const run = result.ok ? { good: before.good + 1, bad: 0 } : { good: 0, bad: excused ? 0 : before.bad + 1 }
  const next = { ...health, runs: { ...health.runs, [purpose]: run } }
  if (result.ok)
    return run.good < (probe.successes || probeDefaults.successes) ? { health: next } : { health: passed(next, purpose) }
  const failures = probe.failures || probeDefaults.failures
  if (run.bad < failures) return { health: next }
  if (purpose === 'readiness') return { health: { ...next, well: { ...next.well, readiness: false } } }
  const times = failures === 1 ? 'once' : `${failures} times in a row`
  return { health: next, failed: `the ${purpose} probe failed ${times}: ${result.message}` }
}

function passed(health: Health, purpose: Purpose): Health {
  return purpose === 'startup' ? { ...health, startedUp: true } : { ...health, well: { ...health.well, [purpose]: true } }
}
