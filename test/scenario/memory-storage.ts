import { type Entry, limitBytes } from '../../master/raft/entry.ts'
import { assert } from '../../master/raft/invariant.ts'
import type { ConfState, HardState, Snapshot } from '../../master/raft/state.ts'
import type { Storage } from '../../master/raft/storage.ts'

const noMembers: ConfState = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }

/** A disk in memory, written to by whoever plays the host. `newestSnapshot` is asked whenever a follower needs one. */
export class MemoryStorage implements Storage {
  hardState: HardState | undefined
  readonly #newestSnapshot: (to: number) => Snapshot | undefined
  #confState = noMembers
  /** Term and index of the entry before the first one. */
  #base = { term: 0, index: 0 }
  #entries: Entry[] = []

  constructor(newestSnapshot: (to: number) => Snapshot | undefined) {
    this.#newestSnapshot = newestSnapshot
  }

  initialState(): { hardState: HardState | undefined; confState: ConfState } {
    return { hardState: this.hardState, confState: this.#confState }
  }

  firstIndex(): number {
    return this.#base.index + 1
  }

  lastIndex(): number {
    return this.#base.index + this.#entries.length
  }

  term(index: number): number | undefined {
    return index === this.#base.index ? this.#base.term : this.#entries[index - this.firstIndex()]?.term
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    if (low < this.firstIndex()) return undefined
    return limitBytes(this.#entries.slice(low - this.firstIndex(), high - this.firstIndex()), maxBytes)
  }

  snapshot(to: number): Snapshot | undefined {
    return this.#newestSnapshot(to)
  }

  /** What is at or after the first new entry goes; what is compacted stays so. */
  append(entries: readonly Entry[]): void {
    const kept = entries.filter((entry) => entry.index > this.#base.index)
    const [first] = kept
    if (first === undefined) return
    assert(first.index <= this.lastIndex() + 1, `a gap before entry ${first.index}`)
    this.#entries = [...this.#entries.slice(0, first.index - this.firstIndex()), ...kept]
  }

  install(snapshot: Snapshot): boolean {
    if (snapshot.index < this.#base.index) return false
    this.#base = { term: snapshot.term, index: snapshot.index }
    this.#entries = []
    this.#confState = snapshot.confState
    return true
  }

  /** The membership that the state machine has on disk. */
  remember(confState: ConfState): void {
    this.#confState = confState
  }

  /** Entries up to `index` go. False when they are gone already. */
  compact(index: number): boolean {
    if (index <= this.#base.index) return false
    const term = this.term(index)
    assert(term !== undefined, `${index} is beyond the end of the log`)
    this.#entries = this.#entries.slice(index - this.#base.index)
    this.#base = { term, index }
    return true
  }
}
