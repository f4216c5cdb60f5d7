import { assert } from '../../base/fault.ts'
import { type Entry, limitBytes } from '../raft/entry.ts'

/** Of one answer: what is over the limit of a message is not worth copying. */
const pageEntries = 1024

/** The durable end of the log in memory: what followers may still need, and the term of the entry before. */
export class LogTail {
  #baseIndex: number
  #baseTerm: number
  /** From `#start` on; what is before it has gone and is cut off from time to time. */
  #entries: Entry[] = []
  #start = 0
  #bytes = 0

  constructor(afterIndex: number, afterTerm: number) {
    this.#baseIndex = afterIndex
    this.#baseTerm = afterTerm
  }

  get firstIndex(): number {
    return this.#baseIndex + 1
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length - this.#start
  }

  term(index: number): number | undefined {
    if (index <= this.#baseIndex) return index === this.#baseIndex ? this.#baseTerm : undefined
    return this.#entries[this.#at(index)]?.term
  }

  /** Entries of [low, high) within `maxBytes`, at least one; undefined where `low` is gone. */
  slice(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    if (low < this.firstIndex) return undefined
    const end = Math.min(high, low + pageEntries)
    return limitBytes(this.#entries.slice(this.#at(low), this.#at(end)), maxBytes)
  }

  /** In place of what is at or after the first of them; what is gone stays so. */
  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index <= this.#baseIndex) continue
      if (entry.index <= this.lastIndex) this.#cut(entry.index)
      assert(entry.index === this.lastIndex + 1, `entry ${entry.index} follows ${this.lastIndex}`)
      this.#entries.push(entry)
      this.#bytes += entry.data.length
    }
  }

  /** A snapshot stands for everything up to `index`. */
  reset(index: number, term: number): void {
    this.#baseIndex = index
    this.#baseTerm = term
    this.#entries = []
    this.#start = 0
    this.#bytes = 0
  }

  /** Lets go of the oldest entries up to `index`, as many as are over `maxBytes`. */
  trim(index: number, maxBytes: number): void {
    while (this.#bytes > maxBytes && this.#baseIndex < index) this.#dropFirst()
    if (this.#start <= this.#entries.length / 2 || this.#start < pageEntries) return
    this.#entries = this.#entries.slice(this.#start)
    this.#start = 0
  }

  #dropFirst(): void {
    const first = this.#entries[this.#start]
    assert(first !== undefined, 'the log ends before what is dropped of it')
    this.#baseIndex = first.index
    this.#baseTerm = first.term
    this.#bytes -= first.data.length
    this.#start += 1
  }

  #cut(index: number): void {
    for (const entry of this.#entries.splice(this.#at(index))) this.#bytes -= entry.data.length
  }

  #at(index: number): number {
    return this.#start + index - this.firstIndex
  }
}
