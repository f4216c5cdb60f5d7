/**
 * All who wait under one signal, behind one listener: to add and take away a listener for each of many short waits would cost more
 * than what they wait for.
 */
export class SignalWaits<W> {
  readonly #bySignal = new WeakMap<AbortSignal, Set<W>>()
  readonly #onAbort: (waiting: W, reason: unknown) => void

  constructor(onAbort: (waiting: W, reason: unknown) => void) {
    this.#onAbort = onAbort
  }

  /** Take `waiting` out of the set that this gives back when its wait is over. */
  add(signal: AbortSignal, waiting: W): Set<W> {
    const known = this.#bySignal.get(signal)
    if (known !== undefined) return known.add(waiting)
    const made = new Set([waiting])
    this.#bySignal.set(signal, made)
    const abort = (): void => {
      for (const one of [...made]) this.#onAbort(one, signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    return made
  }
}
