/**
 * Time as this process was there to see it: it goes on by no more than a bound at each look. A master that stood still, for want of a
 * processor or in a stopped machine, must not take its own silence for that of others: what they sent meanwhile is still to be read.
 */
export class ServedTime {
  readonly #mostMs: number
  #lookedMs: number
  #servedMs = 0

  /** `mostMs`: what may pass between two looks of a process that is well. */
  constructor(nowMs: number, mostMs: number) {
    this.#lookedMs = nowMs
    this.#mostMs = mostMs
  }

  /** Milliseconds since it was made, as of the last look. */
  get ms(): number {
    return this.#servedMs
  }

  look(nowMs: number): void {
    this.#servedMs += Math.min(nowMs - this.#lookedMs, this.#mostMs)
    this.#lookedMs = nowMs
  }
}
