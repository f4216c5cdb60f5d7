import { type Entry, noEntries } from './entry.ts'
import { assert } from './invariant.ts'
import { type Log, sliceLog } from './log.ts'

/**
 * With asynchronous writes the state machine works beside the append thread: then only what is durable here may be applied, or a
 * crash could leave a state machine that is ahead of its own log.
 */
function applicableTo(log: Log, allowUnstable: boolean): number {
  return allowUnstable ? log.committed : Math.min(log.committed, log.unstable.offset - 1)
}

/** A snapshot comes first: what follows it cannot be applied to the state before it. */
export function hasNextCommitted(log: Log, allowUnstable: boolean): boolean {
  if (log.applyingPaused || log.unstable.snapshot !== undefined) return false
  return log.applying < applicableTo(log, allowUnstable)
}

/** The next committed entries for the state machine, within what it may have at a time. */
export function nextCommitted(log: Log, allowUnstable: boolean): readonly Entry[] {
  if (!hasNextCommitted(log, allowUnstable)) return noEntries
  const room = log.maxApplyingBytes - log.applyingBytes
  assert(room > 0, 'the state machine has too much to do and is not paused')
  const entries = sliceLog(log, log.applying + 1, applicableTo(log, allowUnstable) + 1, room)
  assert(entries !== undefined, `entry ${log.applying + 1} is compacted and was never applied`)
  return entries
}

/** Entries up to `index` have been handed to the state machine. */
export function acceptApplying(log: Log, index: number, bytes: number, allowUnstable: boolean): void {
  assert(index <= log.committed, `${index} is applied before it is committed (${log.committed})`)
  log.applying = index
  log.applyingBytes += bytes
  // Entries that were held back show that the room is used up, even where some bytes are left.
  log.applyingPaused = log.applyingBytes >= log.maxApplyingBytes || index < applicableTo(log, allowUnstable)
}

export function appliedTo(log: Log, index: number, bytes: number): void {
  assert(index <= log.committed && index >= log.applied, `applied ${index} is outside ${log.applied} to ${log.committed}`)
  log.applied = index
  log.applying = Math.max(log.applying, index)
  log.applyingBytes = Math.max(0, log.applyingBytes - bytes)
  log.applyingPaused = log.applyingBytes >= log.maxApplyingBytes
}
