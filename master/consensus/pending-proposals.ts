import type { Answer } from '../../proto/gen/messages.ts'
import type { Proposal } from '../raft/entry.ts'
import type { ProposeOutcome } from '../replica.ts'
import type { Placed } from './port.ts'
import { SignalWaits } from './signal-waits.ts'

interface Waiting {
  readonly proposal: Proposal
  readonly settle: (outcome: ProposeOutcome) => void
  /** Of the term in which it has its place in the log. */
  term: number
  under: Set<Waiting> | undefined
}

/** Proposals on their way: gathered first, then each at its place in the log, until that place is applied. */
export class PendingProposals {
  #gathered: Waiting[] = []
  readonly #placed = new Map<number, Waiting>()
  /** An abort ends the wait, never the command, which goes on to count as being on its way. */
  readonly #waits = new SignalWaits<Waiting>((waiting) => waiting.settle({ kind: 'unknown' }))
  readonly #drained: (() => void)[] = []
  #bytes = 0
  #count = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Resolves with `unknown` where the signal aborts first. */
  add(proposal: Proposal, signal?: AbortSignal): Promise<ProposeOutcome> {
    this.#bytes += proposal.data.length
    this.#count += 1
    return new Promise((settle) => {
      const waiting: Waiting = { proposal, settle, term: 0, under: undefined }
      if (signal !== undefined) waiting.under = this.#waits.add(signal, waiting)
      this.#gathered.push(waiting)
    })
  }

  /** Hands out what has been gathered. `answer` tells where it stands; what was not taken is answered with `refused`. */
  takeGathered(): {
    readonly proposals: readonly Proposal[]
    readonly answer: (placed: Placed, refused: ProposeOutcome) => void
  } {
    const gathered = this.#gathered
    this.#gathered = []
    return {
      proposals: gathered.map(({ proposal }) => proposal),
      answer: (placed, refused) => {
        if (placed === undefined) {
          for (const waiting of gathered) this.#settle(waiting, refused)
          return
        }
        let index = placed.firstIndex
        for (const waiting of gathered) {
          waiting.term = placed.term
          this.#placed.set(index++, waiting)
        }
      }
    }
  }

  /** What is applied at `index` is this proposal only if the term is its own as well. */
  applied(index: number, term: number, answer: Answer): void {
    const waiting = this.#placed.get(index)
    if (waiting === undefined) return
    this.#placed.delete(index)
    this.#settle(waiting, waiting.term === term ? { kind: 'applied', index, term, answer } : { kind: 'unknown' })
  }

  /** Nobody here will hear what becomes of them. */
  forgetAll(): void {
    const all = [...this.#placed.values(), ...this.#gathered]
    this.#placed.clear()
    this.#gathered = []
    for (const waiting of all) this.#settle(waiting, { kind: 'unknown' })
  }

  /** Resolves once nothing is on its way. */
  drained(): Promise<void> {
    return this.#count === 0 ? Promise.resolve() : new Promise((resolve) => this.#drained.push(resolve))
  }

  #settle(waiting: Waiting, outcome: ProposeOutcome): void {
    this.#bytes -= waiting.proposal.data.length
    this.#count -= 1
    waiting.under?.delete(waiting)
    waiting.settle(outcome)
    if (this.#count === 0) for (const resolve of this.#drained.splice(0)) resolve()
  }
}
