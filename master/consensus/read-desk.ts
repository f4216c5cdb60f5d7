import { message } from '../raft/message.ts'
import type { Raft } from '../raft/raft.ts'
import { act } from '../raft/step.ts'

interface Asked {
  readonly reads: readonly number[]
  readonly sinceTick: number
}

/**
 * Reads on their way to the leader and back. An answer that does not come is asked for again, under a name that was never used
 * before: one that was late must not be taken for the answer to a later read (etcd issue 20418).
 */
export class ReadDesk {
  readonly #prefix: string
  #count = 0
  #tick = 0
  /** By context. */
  readonly #asked = new Map<string, Asked>()

  constructor(raftId: number, incarnation: string) {
    this.#prefix = `${raftId}/${incarnation}`
  }

  ask(raft: Raft, reads: readonly number[]): void {
    const m = message('read-index', 0)
    this.#count += 1
    m.context = `${this.#prefix}/${this.#count}`
    this.#asked.set(m.context, { reads, sinceTick: this.#tick })
    // Where nobody leads it is dropped, and asked again.
    act(raft, m)
  }

  answered(context: string): readonly number[] {
    const asked = this.#asked.get(context)
    this.#asked.delete(context)
    return asked?.reads ?? []
  }

  /** Asks again for what has waited for `patienceTicks`. */
  tick(raft: Raft, patienceTicks: number): void {
    this.#tick += 1
    const late = [...this.#asked].filter(([, { sinceTick }]) => this.#tick - sinceTick >= patienceTicks)
    for (const [context] of late) this.#asked.delete(context)
    const reads = late.flatMap(([, asked]) => asked.reads)
    if (reads.length > 0) this.ask(raft, reads)
  }
}
