import { once } from 'node:events'
import { Socket } from 'node:net'
import { type Channel, channels, encodeStreamFrame, encodeStreamJson } from '../../proto/stream-frame.ts'

const maxQueuedBytes = 1024 * 1024

/** The child's frames to the agent, on descriptor 1. `process.stdout` would block the whole process on a slow reader. */
export class TerminalOutput {
  readonly #socket = new Socket({ fd: 1, readable: false, writable: true })

  constructor() {
    // With the agent gone there is nobody to tell; the end of our input tells us.
    this.#socket.on('error', () => undefined)
  }

  /** Tells the agent that the answer may begin. */
  ready(): void {
    this.#socket.write(encodeStreamJson(channels.progress, {}))
  }

  async write(channel: Channel, data: Uint8Array): Promise<void> {
    if (!this.#socket.write(encodeStreamFrame(channel, data))) await once(this.#socket, 'drain')
  }

  /** Passes on and pauses the source while much is queued. */
  relay(channel: Channel, data: Uint8Array, source: { pause(): void; resume(): void }): void {
    this.#socket.write(encodeStreamFrame(channel, data))
    if (this.#socket.writableLength < maxQueuedBytes) return
    source.pause()
    this.#socket.once('drain', () => source.resume())
  }

  async finish(value: unknown): Promise<void> {
    this.#socket.write(encodeStreamJson(channels.end, value))
    await this.flush()
  }

  /** Resolves when everything is with the agent. */
  flush(): Promise<void> {
    return new Promise((resolve) => this.#socket.end(resolve))
  }
}
