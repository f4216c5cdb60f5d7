/** Pulls exact numbers of bytes out of a stream of chunks. Holds one chunk and what is asked for. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>
  #held: Buffer = Buffer.alloc(0)

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Exactly `bytes`, or fewer where the stream ends first. */
  async take(bytes: number): Promise<Buffer> {
    if (this.#held.length < bytes) await this.#fill(bytes)
    const taken = this.#held.subarray(0, bytes)
    this.#held = this.#held.subarray(taken.length)
    return taken
  }

  /** At least one byte and at most `most`; empty at the end. */
  async some(most: number): Promise<Buffer> {
    if (this.#held.length === 0) await this.#fill(1)
    const taken = this.#held.subarray(0, most)
    this.#held = this.#held.subarray(taken.length)
    return taken
  }

  /** The next bytes, which stay; fewer where the stream ends first. */
  async peek(bytes: number): Promise<Buffer> {
    if (this.#held.length < bytes) await this.#fill(bytes)
    return this.#held.subarray(0, bytes)
  }

  async *rest(): AsyncGenerator<Buffer> {
    for (let chunk = await this.some(1 << 20); chunk.length > 0; chunk = await this.some(1 << 20)) yield chunk
  }

  async #fill(bytes: number): Promise<void> {
    const parts: Uint8Array[] = [this.#held]
    let length = this.#held.length
    while (length < bytes) {
      const next = await this.#chunks.next()
      if (next.done === true) break
      parts.push(next.value)
      length += next.value.length
    }
    this.#held = parts.length === 2 && this.#held.length === 0 ? asBuffer(parts[1]) : Buffer.concat(parts)
  }
}

const asBuffer = (bytes: Uint8Array | undefined): Buffer =>
  bytes === undefined ? Buffer.alloc(0) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
