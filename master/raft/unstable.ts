import type { Entry } from './entry.ts'
import { assert } from './invariant.ts'
import type { Snapshot } from './state.ts'

/**
 * The end of the log that is not known to be durable yet, and the snapshot that is being installed below it.
 *
 *     storage | offset ... entries being written ... offsetInProgress ... entries nobody has been told to write
 */
export interface Unstable {
  snapshot: Snapshot | undefined
  snapshotInProgress: boolean
  entries: Entry[]
  /** Index of `entries[0]`. */
  offset: number
  offsetInProgress: number
}

export const newUnstable = (offset: number): Unstable => ({
  snapshot: undefined,
  snapshotInProgress: false,
  entries: [],
  offset,
  offsetInProgress: offset
})

export function unstableLastIndex(unstable: Unstable): number | undefined {
  const { entries, offset, snapshot } = unstable
  return entries.length > 0 ? offset + entries.length - 1 : snapshot?.index
}

export function unstableTerm(unstable: Unstable, index: number): number | undefined {
  if (index >= unstable.offset) return unstable.entries[index - unstable.offset]?.term
  return unstable.snapshot?.index === index ? unstable.snapshot.term : undefined
}

/** What the host has not been told to write yet. */
export const nextUnstableEntries = (unstable: Unstable): readonly Entry[] =>
  unstable.entries.slice(unstable.offsetInProgress - unstable.offset)

export const hasNextUnstableEntries = (unstable: Unstable): boolean =>
  unstable.entries.length > unstable.offsetInProgress - unstable.offset

export const nextUnstableSnapshot = (unstable: Unstable): Snapshot | undefined =>
  unstable.snapshotInProgress ? undefined : unstable.snapshot

/** Everything here has been handed to the host. */
export function acceptInProgress(unstable: Unstable): void {
  unstable.offsetInProgress = unstable.offset + unstable.entries.length
  if (unstable.snapshot !== undefined) unstable.snapshotInProgress = true
}

/**
 * The write up to (term, index) is durable. The answer to a write can come after another leader has replaced what was written:
 * then the term differs, and nothing is stable.
 */
export function markStable(unstable: Unstable, term: number, index: number): void {
  if (index < unstable.offset || unstable.entries[index - unstable.offset]?.term !== term) return
  unstable.entries = unstable.entries.slice(index + 1 - unstable.offset)
  unstable.offset = index + 1
  unstable.offsetInProgress = Math.max(unstable.offsetInProgress, unstable.offset)
}

export function markSnapshotStable(unstable: Unstable, index: number): void {
  if (unstable.snapshot?.index !== index) return
  unstable.snapshot = undefined
  unstable.snapshotInProgress = false
}

/** The snapshot takes the place of everything before and here. */
export function restoreUnstable(unstable: Unstable, snapshot: Snapshot): void {
  unstable.offset = snapshot.index + 1
  unstable.offsetInProgress = unstable.offset
  unstable.entries = []
  unstable.snapshot = snapshot
  unstable.snapshotInProgress = false
}

/** Whatever is at or after the first new entry goes, and has to be written anew even if it is being written now. */
export function truncateAndAppend(unstable: Unstable, entries: readonly Entry[]): void {
  const from = entries[0]?.index
  assert(from !== undefined && from <= unstable.offset + unstable.entries.length, 'a gap in the log')
  if (from <= unstable.offset) {
    unstable.offset = from
    unstable.entries = [...entries]
  } else {
    unstable.entries.length = from - unstable.offset
    for (const entry of entries) unstable.entries.push(entry)
  }
  unstable.offsetInProgress = Math.min(unstable.offsetInProgress, from)
  unstable.offsetInProgress = Math.max(unstable.offsetInProgress, unstable.offset)
}

export function sliceUnstable(unstable: Unstable, low: number, high: number): readonly Entry[] {
  assert(low >= unstable.offset && high <= unstable.offset + unstable.entries.length, `entries ${low} to ${high} are not here`)
  return unstable.entries.slice(low - unstable.offset, high - unstable.offset)
}
