import type { Answer } from '../../proto/gen/messages.ts'
import type { Proposal } from '../raft/entry.ts'
import type { ProposeOutcome } from '../replica.ts'
import type { Placed } from './port.ts'

interface Waiting {
  readonly proposal: Proposal
  readonly settle: (outcome: ProposeOutcome) => void
}

/** Proposals on their way: gathered first, then each at its place in the log, until that place is applied. */
export class PendingProposals {
  #gathered: Waiting[] = []
  readonly #placed = new Map<number, Waiting & { readonly term: number }>()
  readonly #drained: (() => void)[] = []
  #bytes = 0
  #count = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  add(proposal: Proposal): Promise<ProposeOutcome> {
    this.#bytes += proposal.data.length
    this.#count += 1
    return new Promise((settle) => this.#gathered.push({ proposal, settle }))
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
        for (const [at, waiting] of gathered.entries()) {
          if (placed === undefined) this.#settle(waiting, refused)
          else this.#placed.set(placed.firstIndex + at, { ...waiting, term: placed.term })
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

  #settle({ proposal, settle }: Waiting, outcome: ProposeOutcome): void {
    this.#bytes -= proposal.data.length
    this.#count -= 1
    settle(outcome)
    if (this.#count === 0) for (const resolve of this.#drained.splice(0)) resolve()
  }
}
