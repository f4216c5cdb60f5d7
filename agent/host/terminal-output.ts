import { once } from 'node:events'
import { Socket } from 'node:net'
import { type Channel, channels, encodeStreamFrame, encodeStreamJson } from '../../proto/stream-frame.ts'

/** The child's frames to the agent, on descriptor 1. `process.stdout` would block the whole process on a slow reader. */
export class TerminalOutput {
  readonly #socket = new Socket({ fd: 1, readable: false, writable: true })

  readonly #gone = new AbortController()

  constructor() {
    // With the agent gone there is nobody to tell; the end of our input tells us.
    this.#socket.on('error', () => this.#gone.abort())
    this.#socket.once('close', () => this.#gone.abort())
  }

  /** Whether the agent has ended, or has let go of us. */
  get isGone(): boolean {
    return this.#gone.signal.aborted
  }

  /** Tells the agent that the answer may begin. */
  ready(): void {
    this.#socket.write(encodeStreamJson(channels.progress, {}))
  }

  /** Resolves when there is room for more; rejects when the agent is gone. */
  async write(channel: Channel, data: Uint8Array): Promise<void> {
    this.#gone.signal.throwIfAborted()
    if (!this.#socket.write(encodeStreamFrame(channel, data))) await once(this.#socket, 'drain', { signal: this.#gone.signal })
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
