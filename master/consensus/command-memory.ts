const pieceBytes = 64 * 1024
/** What is larger has memory of its own already. */
const smallBytes = 4 * 1024

/**
 * Memory of the commands that this master has proposed. They stay in the log's tail for seconds, and whatever shared a piece of memory
 * with them would stay as long: frames and answers, three times as much as the commands themselves. So they lie side by side, apart
 * from all else, in the order in which they are let go of.
 */
export class CommandMemory {
  #piece = Buffer.alloc(0)
  #used = 0

  /** The same bytes, in a place where they may stay. */
  keep(bytes: Uint8Array): Uint8Array {
    if (bytes.length >= smallBytes) return bytes
    if (this.#used + bytes.length > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(pieceBytes)
      this.#used = 0
    }
    const kept = this.#piece.subarray(this.#used, this.#used + bytes.length)
    kept.set(bytes)
    this.#used += bytes.length
    return kept
  }
}
