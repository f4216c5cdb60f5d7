import { assert } from './invariant.ts'

/**
 * The appends a follower has been sent and has not answered yet: the index of each one's last entry and its payload bytes,
 * oldest first, in a ring that grows only as far as it is used.
 */
export class Inflights {
  readonly #maxMessages: number
  readonly #maxBytes: number
  #indexes: number[] = []
  #sizes: number[] = []
  #start = 0
  #count = 0
  #bytes = 0

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages
    this.#maxBytes = maxBytes
  }

  get count(): number {
    return this.#count
  }

  /** The one that reaches the limit of bytes is let through, the next one is not. */
  isFull(): boolean {
    return this.#count === this.#maxMessages || this.#bytes >= this.#maxBytes
  }

  add(lastIndex: number, bytes: number): void {
    assert(!this.isFull(), 'an append is added to full inflights')
    if (this.#count === this.#indexes.length) this.#grow()
    const at = (this.#start + this.#count) % this.#indexes.length
    this.#indexes[at] = lastIndex
    this.#sizes[at] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** The follower has everything up to and with `index`. */
  freeTo(index: number): void {
    while (this.#count > 0 && (this.#indexes[this.#start] ?? 0) <= index) {
      this.#bytes -= this.#sizes[this.#start] ?? 0
      this.#start = (this.#start + 1) % this.#indexes.length
      this.#count--
    }
  }

  reset(): void {
    this.#start = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const from = (ring: readonly number[]) => [...ring.slice(this.#start), ...ring.slice(0, this.#start)]
    const room = new Array<number>(Math.max(4, this.#indexes.length)).fill(0)
    this.#indexes = [...from(this.#indexes), ...room]
    this.#sizes = [...from(this.#sizes), ...room]
    this.#start = 0
  }
}
