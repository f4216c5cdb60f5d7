import type { Entry } from './entry.ts'
import type { ConfState, HardState, Snapshot } from './state.ts'

/**
 * The durable part of the log, as the host shows it. The core reads it only while it is called, and the answers must be at
 * hand: a host keeps the part of its log in memory that its followers may still need. Entries the core has handed out to be
 * written must show here by the time their write is acknowledged.
 */
export interface Storage {
  initialState(): { readonly hardState: HardState | undefined; readonly confState: ConfState }
  /** The first index whose entry is at hand; the term of the one before it must be known too. */
  firstIndex(): number
  lastIndex(): number
  /** Undefined when the index is compacted, or beyond the end. */
  term(index: number): number | undefined
  /** Entries of [low, high) as far as `maxBytes` go, but at least one. Undefined when `low` is compacted. */
  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined
  /**
   * Undefined while none can be had; the core asks again later. Never older than `firstIndex() - 1`, and of a time when `to` was a
   * member: a node takes no snapshot that does not know it.
   */
  snapshot(to: number): Snapshot | undefined
}
