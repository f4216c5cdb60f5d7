/** Work that is asked for again and again gets no more than a share of the time, however long it takes. Pure; times in milliseconds. */
export class Pace {
  readonly #restParts: number
  #restUntilMs = Number.NEGATIVE_INFINITY

  /** For each part of the time so many are left to others. */
  constructor(restParts: number) {
    this.#restParts = restParts
  }

  worked(fromMs: number, toMs: number): void {
    this.#restUntilMs = toMs + (toMs - fromMs) * this.#restParts
  }

  /** Until it may go on. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#restUntilMs - nowMs)
  }
}
