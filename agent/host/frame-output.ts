import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import type { Fault } from '../../base/fault.ts'
import { type Channel, channels, encodeStreamFrame, encodeStreamJson } from '../../proto/stream-frame.ts'

const pieceBytes = 64 * 1024

/** What a stream ends with when it failed in its middle. */
export const faultFrame = (e: Fault) => ({ error: { code: e.code, message: e.message, detail: e.detail } })

/** The host's half of a duplex stream: whoever writes waits for the reader. */
export class FrameOutput {
  readonly #stream = new PassThrough({ highWaterMark: 2 * pieceBytes })
  /** Aborts when nobody reads any more: the request was cancelled or its body was dropped. */
  readonly gone: AbortSignal
  /** Several writers may wait for the same room; each takes its turn. */
  #turn: Promise<void> = Promise.resolve()

  constructor(signal: AbortSignal) {
    const dropped = new AbortController()
    this.#stream.once('close', () => dropped.abort(new Error('the reader is gone')))
    this.#stream.on('error', () => undefined) // only ever our own destroy
    this.gone = AbortSignal.any([signal, dropped.signal])
  }

  get body(): AsyncIterable<Uint8Array> {
    return this.#stream
  }

  /** Resolves when there is room for more; rejects with the reason of `gone`. */
  write(channel: Channel, data: Uint8Array): Promise<void> {
    const turn = this.#turn.then(() => this.#push(encodeStreamFrame(channel, data)))
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  /** Passes a program's output on; once nobody reads, it is still taken, so that the program is not stopped by us. */
  async relay(channel: Channel, chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length && !this.gone.aborted; at += pieceBytes) {
      try {
        await this.write(channel, chunk.subarray(at, at + pieceBytes))
      } catch (e) {
        if (!this.gone.aborted) throw e
      }
    }
  }

  /** The last frame. */
  async finish(value: unknown): Promise<void> {
    await this.#turn
    if (!this.gone.aborted) this.#stream.end(encodeStreamJson(channels.end, value))
  }

  drop(): void {
    this.#stream.destroy()
  }

  async #push(frame: Buffer): Promise<void> {
    this.gone.throwIfAborted()
    if (!this.#stream.write(frame)) await once(this.#stream, 'drain', { signal: this.gone })
  }
}
