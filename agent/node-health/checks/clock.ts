import { type Check, rowsOf } from '../verdict.ts'
import { countOf, showSpan } from './words.ts'

/** What one source says of the clock; the first that says anything counts. */
export interface SyncFacts {
  readonly source: 'timedatectl' | 'chrony' | 'timesyncd' | 'adjtimex'
  readonly synchronised: boolean
  /** Distance from the time source, where it is told. */
  readonly offsetMs?: number
}

const largestOffsetMs = 500

export function judgeClockSync(facts: SyncFacts | undefined): Check {
  const row = rowsOf('clock.sync')
  const remedy = 'install and start a time service: apt-get install chrony'
  if (facts === undefined) return row.unknown('nothing on this host tells whether its clock is synchronised', remedy)
  if (!facts.synchronised) return row.warning(`the clock is not synchronised (${facts.source})`, remedy)
  const { offsetMs } = facts
  if (offsetMs !== undefined && Math.abs(offsetMs) > largestOffsetMs) {
    return row.warning(`the clock is off by ${showSpan(offsetMs)} (${facts.source})`, 'wait, or step it: chronyc makestep')
  }
  return row.ok(`synchronised (${facts.source})${offsetMs === undefined ? '' : `, off by ${showSpan(offsetMs)}`}`)
}

/** `chronyc -c tracking`: comma-separated; field 4 is the stratum, 5 the offset in s, the last one the leap status. */
export function parseChrony(text: string): SyncFacts | undefined {
  const fields = text.trim().split(',')
  const offset = Number(fields[4])
  if (fields.length < 14 || !Number.isFinite(offset)) return undefined
  return { source: 'chrony', synchronised: fields.at(-1) !== 'Not synchronised', offsetMs: offset * 1_000 }
}

/** `timedatectl show`: the kernel's STA_UNSYNC flag (adjtimex(2)). */
export function parseTimedatectl(text: string): SyncFacts | undefined {
  const told = /^NTPSynchronized=(yes|no)$/m.exec(text)?.[1]
  return told === undefined ? undefined : { source: 'timedatectl', synchronised: told === 'yes' }
}

/** busybox's adjtimex prints the kernel's status word; 64 is STA_UNSYNC. */
export function parseAdjtimex(text: string): SyncFacts | undefined {
  const status = /^\s*status:\s+(\d+)\b/m.exec(text)?.[1]
  return status === undefined ? undefined : { source: 'adjtimex', synchronised: (Number(status) & 64) === 0 }
}

export interface ClockStep {
  /** Wall clock after it, in ms since 1970. */
  readonly atMs: number
  /** Positive: forwards. */
  readonly byMs: number
  /** Monotonic time of it. */
  readonly monotonicMs: number
}

/** Slewing moves a clock by at most 500 ppm; what moves it by more than this within a look is a step. */
const leastStepMs = 250
const remembered = 20
const recentMs = 3_600_000

/** Compares the wall clock with the one that nobody can set. Time and state come from outside. */
export class ClockWatch {
  readonly #steps: ClockStep[] = []
  #total = 0
  #offsetMs: number | undefined

  get steps(): readonly ClockStep[] {
    return this.#steps
  }
  get total(): number {
    return this.#total
  }

  look(wallMs: number, monotonicMs: number): void {
    const offsetMs = wallMs - monotonicMs
    const byMs = this.#offsetMs === undefined ? 0 : offsetMs - this.#offsetMs
    this.#offsetMs = offsetMs
    if (Math.abs(byMs) < leastStepMs) return
    this.#total += 1
    this.#steps.push({ atMs: wallMs, byMs, monotonicMs })
    if (this.#steps.length > remembered) this.#steps.shift()
  }
}

export function judgeClockSteps(steps: readonly ClockStep[], monotonicMs: number): Check {
  const row = rowsOf('clock.steps')
  const recent = steps.filter((step) => monotonicMs - step.monotonicMs < recentMs)
  const last = recent.at(-1)
  if (last === undefined) return row.ok('the wall clock did not jump in the last hour')
  const how = last.byMs > 0 ? 'forwards' : 'backwards'
  const ago = showSpan(monotonicMs - last.monotonicMs)
  return row.warning(
    `the wall clock jumped ${countOf(recent.length, 'time')} in the last hour, last ${how} by ${showSpan(Math.abs(last.byMs))} ${ago} ago`,
    'see what sets it (two time services, a script, a suspended machine); times in logs and statuses jump with it'
  )
}
