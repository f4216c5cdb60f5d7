interface Due {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** Simulated time: what is due next happens next, and of what is due at one moment the first that was asked for. */
export class Schedule {
  /** Milliseconds since the start of the run. */
  nowMs = 0
  /** How many events have happened. */
  events = 0
  /** Something asynchronous may have been set off: let it come to rest before the next event. */
  isStirred = false
  #order = 0
  readonly #heap: Due[] = []

  after(delayMs: number, run: () => void): void {
    const due = { at: this.nowMs + delayMs, order: this.#order++, run }
    const heap = this.#heap
    let at = heap.push(due) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(due, above)) break
      heap[at] = above
      heap[parent] = due
      at = parent
    }
  }

  stir(): void {
    this.isStirred = true
  }

  /** False once nothing is due before `untilMs`. */
  next(untilMs: number): boolean {
    const [first] = this.#heap
    if (first === undefined || first.at > untilMs) return false
    this.#removeFirst()
    this.nowMs = first.at
    this.events++
    first.run()
    return true
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      const right = heap[child + 1]
      const left = heap[child]
      if (left === undefined) break
      let smaller = left
      if (right !== undefined && isBefore(right, left)) {
        smaller = right
        child++
      }
      if (!isBefore(smaller, last)) break
      heap[at] = smaller
      at = child
    }
    heap[at] = last
  }
}

const isBefore = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
