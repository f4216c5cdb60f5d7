import { readRecord } from '../../base/record-chain.ts'
import { decodeMessage } from '../../proto/codec.ts'
import type { HardState } from '../../proto/gen/messages.ts'
import type { Platter } from './platters.ts'

interface Reading {
  offset: number
  crc: number
  /** Up to here a later record says that it was acknowledged. */
  vouched: number
  readonly ends: { readonly index: number; readonly end: number }[]
}

/**
 * What the disk of one master really holds of its log, read from the bytes as they become durable: it knows nothing of what the
 * code under test believes to have written.
 */
export class DurableLog {
  hardState: HardState = { term: 0, votedFor: '', commit: 0, vote: 0 }
  #first = 1
  #terms: number[] = []
  readonly #readings = new WeakMap<Platter, Reading>()

  firstIndex(): number {
    return this.#first
  }

  lastIndex(): number {
    return this.#first + this.#terms.length - 1
  }

  term(index: number): number | undefined {
    return this.#terms[index - this.#first]
  }

  /** A segment, or what will become one, has new bytes on the disk. */
  read(platter: Platter): void {
    const reading = this.#readings.get(platter) ?? { offset: 0, crc: 0, vouched: 0, ends: [] }
    this.#readings.set(platter, reading)
    for (;;) {
      const read = readRecord(platter.durable, reading.offset, reading.crc)
      if (read.kind !== 'record') return
      reading.offset = read.record.end
      reading.crc = read.record.crc
      this.#take(read.record.body, reading)
    }
  }

  /** How much of this file cannot be a torn write; all of a snapshot. */
  vouchedBytes(platter: Platter): number {
    return this.#readings.get(platter)?.vouched ?? platter.durable.length - 1
  }

  #take(body: Uint8Array, reading: Reading): void {
    const { entry, hardState, truncate, reset, acknowledgedIndex } = decodeMessage('LogRecord', body)
    if (hardState !== null) this.hardState = hardState
    if (truncate !== null) this.#terms.length = Math.max(0, truncate.fromIndex - this.#first)
    if (reset !== null) {
      this.#first = reset.afterIndex + 1
      this.#terms = []
    }
    reading.vouched = reading.ends.findLast((one) => one.index <= acknowledgedIndex)?.end ?? reading.vouched
    if (entry === null) return
    reading.ends.push({ index: entry.index, end: reading.offset })
    this.#terms.length = Math.max(0, entry.index - this.#first)
    this.#terms.push(entry.term)
  }
}
