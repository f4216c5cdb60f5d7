/** Lets only so many launches go on at once: more only make each other slower. */
export class LaunchTurns {
  readonly #most: number
  readonly #waiting: (() => void)[] = []
  #taken = 0

  constructor(most: number) {
    this.#most = most
  }

  /** Resolves with how to give the turn back, which may be done more than once. */
  async take(): Promise<() => void> {
    if (this.#taken >= this.#most) await new Promise<void>((go) => this.#waiting.push(go))
    this.#taken += 1
    let given = false
    return () => {
      if (given) return
      given = true
      this.#taken -= 1
      this.#waiting.shift()?.()
    }
  }
}
