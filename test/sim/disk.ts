import type { Random } from '../../base/random.ts'
import type { Entry } from '../../master/raft/entry.ts'
import type { Message } from '../../master/raft/message.ts'
import type { Snapshot } from '../../master/raft/state.ts'
import { MemoryStorage } from '../scenario/memory-storage.ts'
import type { Schedule } from './schedule.ts'

/**
 * What survives a crash. Writes wait in order and become durable together, as a group commit does. A crash keeps some of the
 * writes that nobody was told of, whole or torn after some entry, and loses the rest.
 */
export class Disk {
  readonly storage: MemoryStorage
  snapshot: Snapshot
  stallMs = 0
  #waiting: Message[] = []
  #writing: readonly Message[] = []
  #crashes = 0
  readonly #schedule: Schedule
  readonly #random: Random
  readonly #latencyMs: number

  constructor(
    schedule: Schedule,
    random: Random,
    latencyMs: number,
    first: Snapshot,
    snapshotFor: (to: number) => Snapshot | undefined
  ) {
    this.#schedule = schedule
    this.#random = random
    this.#latencyMs = latencyMs
    this.snapshot = first
    this.storage = new MemoryStorage(snapshotFor)
  }

  /** `written` is called when the message's work is durable; never if a crash comes first. */
  write(m: Message, written: (m: Message) => void): void {
    this.#waiting.push(m)
    if (this.#writing.length === 0) this.#flush(written)
  }

  crash(): void {
    this.#crashes++
    const lost = [...this.#writing, ...this.#waiting]
    this.#writing = []
    this.#waiting = []
    const kept = this.#random.between(0, lost.length)
    for (const m of lost.slice(0, kept)) this.#store(m, m.entries)
    const torn = lost[kept]
    if (torn !== undefined && torn.snapshot === undefined && torn.entries.length > 0 && this.#random.between(0, 1) === 1) {
      // Entries stand before term and vote in a batch, so that a torn one never knows of a commit beyond its end.
      this.storage.append(torn.entries.slice(0, this.#random.between(0, torn.entries.length)))
    }
  }

  #flush(written: (m: Message) => void): void {
    const batch = this.#waiting
    const crashes = this.#crashes
    this.#waiting = []
    this.#writing = batch
    if (batch.length === 0) return
    const latency = this.#random.between(0, this.#latencyMs) + this.stallMs
    this.stallMs = 0
    this.#schedule.after(latency, () => {
      if (crashes !== this.#crashes) return
      for (const m of batch) {
        this.#store(m, m.entries)
        written(m)
      }
      this.#writing = []
      this.#flush(written)
    })
  }

  #store(m: Message, entries: readonly Entry[]): void {
    if (m.term > 0) this.storage.hardState = { term: m.term, vote: m.vote, commit: m.commit }
    if (m.snapshot !== undefined) {
      this.storage.install(m.snapshot)
      this.snapshot = m.snapshot
    }
    this.storage.append(entries)
  }
}
