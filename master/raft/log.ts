import { type Entry, entriesBytes, limitBytes, noEntries } from './entry.ts'
import { assert } from './invariant.ts'
import type { Snapshot } from './state.ts'
import type { Storage } from './storage.ts'
import {
  newUnstable,
  restoreUnstable,
  sliceUnstable,
  truncateAndAppend,
  type Unstable,
  unstableLastIndex,
  unstableTerm
} from './unstable.ts'

/**
 * The whole log: what storage has, and after it what is unstable.
 *
 *     applied <= applying <= committed <= last index
 */
export interface Log {
  readonly storage: Storage
  readonly unstable: Unstable
  /** Known to be on a quorum's disks; never decreases. */
  committed: number
  /** Handed to the state machine. */
  applying: number
  /** Acknowledged by the state machine. */
  applied: number
  readonly maxApplyingBytes: number
  applyingBytes: number
  applyingPaused: boolean
}

export function newLog(storage: Storage, maxApplyingBytes: number): Log {
  const beforeFirst = storage.firstIndex() - 1
  return {
    storage,
    unstable: newUnstable(storage.lastIndex() + 1),
    committed: beforeFirst,
    applying: beforeFirst,
    applied: beforeFirst,
    maxApplyingBytes,
    applyingBytes: 0,
    applyingPaused: false
  }
}

export function firstIndexOf(log: Log): number {
  const { snapshot } = log.unstable
  return snapshot === undefined ? log.storage.firstIndex() : snapshot.index + 1
}

export const lastIndexOf = (log: Log): number => unstableLastIndex(log.unstable) ?? log.storage.lastIndex()

/** Undefined for what is compacted or not there yet. The entry before the first one still has a term. */
export function termAt(log: Log, index: number): number | undefined {
  const unstable = unstableTerm(log.unstable, index)
  if (unstable !== undefined) return unstable
  if (index + 1 < firstIndexOf(log) || index > lastIndexOf(log)) return undefined
  return log.storage.term(index)
}

export const lastTermOf = (log: Log): number => termAt(log, lastIndexOf(log)) ?? 0

export const matches = (log: Log, term: number, index: number): boolean => termAt(log, index) === term

/** Whether a log that ends in (term, index) lacks nothing that this one may have committed. */
export function isUpToDate(log: Log, term: number, index: number): boolean {
  const last = lastTermOf(log)
  return term > last || (term === last && index >= lastIndexOf(log))
}

/** Entries of [low, high) within `maxBytes`, at least one. Undefined when `low` is compacted. */
export function sliceLog(log: Log, low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
  if (low < firstIndexOf(log)) return undefined
  assert(high <= lastIndexOf(log) + 1, `entries up to ${high} are beyond the end of the log`)
  if (low >= high) return noEntries
  const { offset } = log.unstable
  if (low >= offset) return limitBytes(sliceUnstable(log.unstable, low, high), maxBytes)
  const stableEnd = Math.min(high, offset)
  const stable = log.storage.entries(low, stableEnd, maxBytes)
  if (stable === undefined || high <= offset || stable.length < stableEnd - low) return stable
  const room = maxBytes - entriesBytes(stable)
  if (room <= 0) return stable
  const unstable = limitBytes(sliceUnstable(log.unstable, offset, high), room)
  if (unstable.length === 1 && entriesBytes(unstable) > room) return stable
  return [...stable, ...unstable]
}

/** From `low` to the end, within `maxBytes`. Undefined when `low` is compacted. */
export function entriesFrom(log: Log, low: number, maxBytes: number): readonly Entry[] | undefined {
  const last = lastIndexOf(log)
  return low > last ? noEntries : sliceLog(log, low, last + 1, maxBytes)
}

/** Adds entries, in place of whatever conflicts with them; what is committed cannot conflict. */
export function appendToLog(log: Log, entries: readonly Entry[]): void {
  const first = entries[0]
  if (first === undefined) return
  assert(first.index > log.committed, `entry ${first.index} would replace a committed one (${log.committed})`)
  truncateAndAppend(log.unstable, entries)
}

/** Index of the first entry that this log has otherwise or not at all; undefined when it has them all. */
function firstConflict(log: Log, entries: readonly Entry[]): Entry | undefined {
  return entries.find((entry) => !matches(log, entry.term, entry.index))
}

/**
 * What a leader sent, after (prevTerm, prevIndex). Answers the index up to which the logs are equal now, undefined when the logs
 * do not meet there. Entries that are here already stay: an older message must not cut off what a newer one brought.
 */
export function maybeAppend(
  log: Log,
  previous: { readonly term: number; readonly index: number },
  entries: readonly Entry[],
  leaderCommit: number
): number | undefined {
  if (!matches(log, previous.term, previous.index)) return undefined
  const lastNew = previous.index + entries.length
  const conflict = firstConflict(log, entries)
  if (conflict !== undefined) appendToLog(log, entries.slice(conflict.index - previous.index - 1))
  commitTo(log, Math.min(leaderCommit, lastNew))
  return lastNew
}

/**
 * The last index up to `index` whose term is at most `term`: logs cannot be equal anywhere after it, because terms never fall
 * within a log. A term that is not known any more ends the search with 0.
 */
export function lastIndexWithin(log: Log, index: number, term: number): { readonly index: number; readonly term: number } {
  for (let at = index; at > 0; at--) {
    const here = termAt(log, at)
    if (here === undefined) return { index: at, term: 0 }
    if (here <= term) return { index: at, term: here }
  }
  return { index: 0, term: 0 }
}

export function commitTo(log: Log, index: number): void {
  if (index <= log.committed) return
  assert(
    index <= lastIndexOf(log),
    `commit of ${index} beyond the end of the log (${lastIndexOf(log)}): was it truncated or lost?`
  )
  log.committed = index
}

/** The log is forgotten: the snapshot stands for all of it. */
export function restoreLog(log: Log, snapshot: Snapshot): void {
  restoreUnstable(log.unstable, snapshot)
  log.committed = snapshot.index
}
