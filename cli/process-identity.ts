import { readFileSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import { errnoOf } from '../base/fault.ts'

/** A pid alone is reused; with its start time and the boot it names one process for ever. */
export interface ProcessIdentity {
  readonly pid: number
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTicks: number
  readonly bootId: string
}

/** Undefined where no such process lives; a zombie does not. */
export function identityOf(pid: number, proc = '/proc'): ProcessIdentity | undefined {
  let stat: string
  try {
    stat = readFileSync(`${proc}/${pid}/stat`, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ESRCH') return undefined
    throw e
  }
  // The name in parentheses may hold anything, so fields are counted from the last closing one; the state is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  const bootId = readFileSync(`${proc}/sys/kernel/random/boot_id`, 'utf8').trim()
  return { pid, startTicks: Number(fields[19]), bootId }
}

export function isAlive(process: ProcessIdentity, proc = '/proc'): boolean {
  const now = identityOf(process.pid, proc)
  return now !== undefined && now.startTicks === process.startTicks && now.bootId === process.bootId
}

/** Sends nothing to a process that only has the same number. */
export function signalProcess(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false
  try {
    return process.kill(target.pid, signal)
  } catch (e) {
    if (errnoOf(e) === 'ESRCH') return false
    throw e
  }
}

const pollMs = 20

/** Resolves with whether the process ended before `patienceMs` were over; no event tells of a process that is not our child. */
export async function awaitEnd(target: ProcessIdentity, patienceMs: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
  const until = clock.monotonicMs() + patienceMs
  while (isAlive(target)) {
    if (clock.monotonicMs() >= until) return false
    await clock.sleep(pollMs, signal)
  }
  return true
}
