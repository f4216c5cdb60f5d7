import { Fault } from '../../base/fault.ts'
import { SignalWaits } from './signal-waits.ts'

interface Waiting {
  readonly resolve: (index: number) => void
  readonly reject: (reason: unknown) => void
  under: Set<Waiting> | undefined
}

const maxWaiting = 65_536

/** Reads that wait for their index to be told and then to be applied. All that come in one turn are one to the leader. */
export class PendingReads {
  #round = 0
  #count = 0
  #gathered: Waiting[] = []
  readonly #asked = new Map<number, Waiting[]>()
  readonly #waits = new SignalWaits<Waiting>((waiting, reason) => {
    this.#over(waiting)
    waiting.reject(reason)
  })
  #due: { readonly index: number; readonly waiting: readonly Waiting[] }[] = []

  add(signal: AbortSignal): Promise<number> {
    if (this.#count >= maxWaiting)
      return Promise.reject(new Fault('exhausted', `${maxWaiting} reads wait: try again in a moment`))
    this.#count += 1
    return new Promise<number>((resolve, reject) => {
      const waiting: Waiting = { resolve, reject, under: undefined }
      waiting.under = this.#waits.add(signal, waiting)
      this.#gathered.push(waiting)
    })
  }

  /** The name of the round of all that have been gathered. */
  takeGathered(): number {
    this.#round += 1
    this.#asked.set(this.#round, this.#gathered)
    this.#gathered = []
    return this.#round
  }

  readable(round: number, index: number): void {
    const waiting = this.#asked.get(round) ?? []
    this.#asked.delete(round)
    if (waiting.length > 0) this.#due.push({ index, waiting })
  }

  applied(index: number): void {
    if (this.#due.length === 0) return
    const ready = this.#due.filter((due) => due.index <= index)
    this.#due = this.#due.filter((due) => due.index > index)
    for (const { waiting } of ready) {
      for (const one of waiting) {
        this.#over(one)
        one.resolve(index)
      }
    }
  }

  rejectAll(reason: Fault): void {
    const all = [...this.#gathered, ...[...this.#asked.values()].flat(), ...this.#due.flatMap((due) => due.waiting)]
    this.#gathered = []
    this.#asked.clear()
    this.#due = []
    for (const one of all) {
      this.#over(one)
      one.reject(reason)
    }
  }

  /** Once for each: one whose signal has aborted still stands in its round. */
  #over(waiting: Waiting): void {
    if (waiting.under?.delete(waiting) === true) this.#count -= 1
  }
}
