import { Fault } from './fault.ts'

/** A bounded queue with one reader. Full means the writer is told, not that memory grows. */
export class Mailbox<T> {
  readonly #items: T[] = []
  readonly #capacity: number
  #wake: (() => void) | undefined

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get length(): number {
    return this.#items.length
  }

  put(item: T): void {
    if (this.#items.length >= this.#capacity) throw new Fault('exhausted', 'mailbox full', { capacity: this.#capacity })
    this.#items.push(item)
    this.#wake?.()
  }

  async *drain(signal: AbortSignal): AsyncGenerator<T> {
    while (!signal.aborted) {
      const item = this.#items.shift()
      if (item !== undefined) yield item
      else await this.#next(signal)
    }
  }

  #next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        this.#wake = undefined
        resolve()
      }
      this.#wake = wake
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}
