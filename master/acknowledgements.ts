import { Fault } from '../base/fault.ts'

/** Statuses that one agent may have under way; one that sends more is cut off and repeats them later. */
const maxUnacknowledged = 65_536

/**
 * Acknowledges an agent's statuses in the order of their coming, however their endings commit: an agent that takes a number as
 * "up to here" must not drop one that is not committed yet.
 */
export class Acknowledgements {
  readonly #send: (number: number) => void
  readonly #waiting = new Map<number, boolean>()

  constructor(send: (number: number) => void) {
    this.#send = send
  }

  /** Throws `Fault('exhausted')` where too many are under way. */
  received(number: number): void {
    if (this.#waiting.has(number)) return
    if (this.#waiting.size >= maxUnacknowledged) throw new Fault('exhausted', 'the agent sends statuses faster than they commit')
    this.#waiting.set(number, false)
  }

  ready(number: number): void {
    if (this.#waiting.has(number)) this.#waiting.set(number, true)
    for (const [first, isReady] of this.#waiting) {
      if (!isReady) return
      this.#waiting.delete(first)
      this.#send(first)
    }
  }
}
