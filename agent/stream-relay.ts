import { Fault, faultTable } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Init } from '../proto/codec.ts'
import type { Messages, StreamCredit, StreamData, StreamEnd, StreamOpen } from '../proto/gen/messages.ts'
import type { WireName } from '../proto/wire.ts'
import type { LocalRouter } from './ports.ts'

type Send = <K extends WireName>(kind: K, message: Init<Messages[K]>) => void

const receiveWindowBytes = 256 * 1024
const chunkBytes = 64 * 1024
const maxStreams = 256

/** One request of the master to the local API, carried in frames: the answer goes out as credit allows. */
class RelayedStream {
  readonly stop = new AbortController()
  readonly #inbox: Uint8Array[] = []
  #inboxEnded: boolean
  #wakeInbox: (() => void) | undefined
  #credit: number
  #wakeCredit: (() => void) | undefined

  constructor(open: StreamOpen) {
    this.#credit = open.window
    if (open.body.length > 0) this.#inbox.push(open.body)
    this.#inboxEnded = !open.duplex
  }

  receive(data: Uint8Array): void {
    this.#inbox.push(data)
    this.#wakeInbox?.()
  }

  endInbox(): void {
    this.#inboxEnded = true
    this.#wakeInbox?.()
  }

  addCredit(bytes: number): void {
    this.#credit += bytes
    this.#wakeCredit?.()
  }

  abort(reason: string): void {
    this.stop.abort(new Fault('unavailable', reason))
    this.#wakeInbox?.()
    this.#wakeCredit?.()
  }

  /** What the client sends; `taken` is called for each piece so that it gets credit again. */
  async *body(taken: (bytes: number) => void): AsyncGenerator<Uint8Array> {
    for (;;) {
      this.stop.signal.throwIfAborted()
      const piece = this.#inbox.shift()
      if (piece !== undefined) {
        taken(piece.length)
        yield piece
      } else if (this.#inboxEnded) return
      else
        await new Promise<void>((wake) => {
          this.#wakeInbox = wake
        })
    }
  }

  /** Resolves with how many of `wanted` bytes may be sent now, at least one. */
  async spend(wanted: number): Promise<number> {
    while (this.#credit <= 0) {
      await new Promise<void>((wake) => {
        this.#wakeCredit = wake
      })
      this.stop.signal.throwIfAborted()
    }
    const bytes = Math.min(wanted, this.#credit, chunkBytes)
    this.#credit -= bytes
    return bytes
  }
}

/** The agent's end of the streams inside the agent link. One per connection. */
export class StreamRelay {
  readonly #router: LocalRouter
  readonly #send: Send
  readonly #log: Log
  readonly #streams = new Map<number, RelayedStream>()

  constructor(router: LocalRouter, send: Send, log: Log) {
    this.#router = router
    this.#send = send
    this.#log = log
  }

  open(open: StreamOpen): void {
    if (this.#streams.size >= maxStreams) {
      this.#turnAway(open, 429)
      return
    }
    const stream = new RelayedStream(open)
    this.#streams.set(open.stream, stream)
    void this.#answer(open, stream)
      .catch((error: unknown) => {
        if (!stream.stop.signal.aborted) this.#log.error({ error, path: open.path }, 'stream.broken')
        this.#send('StreamEnd', { stream: open.stream, aborted: true })
      })
      .finally(() => {
        stream.abort('the stream is over')
        this.#streams.delete(open.stream)
      })
  }

  /** Of a leader that has been followed by another: nothing is read or run for it. */
  refuse(open: StreamOpen): void {
    this.#turnAway(open, faultTable['not-leader'].httpStatus)
  }

  #turnAway({ stream }: StreamOpen, status: number): void {
    this.#send('StreamHead', { stream, status, contentType: 'text/plain', window: 0 })
    this.#send('StreamEnd', { stream, aborted: false })
  }

  data(data: StreamData): void {
    this.#streams.get(data.stream)?.receive(data.data)
  }

  credit(credit: StreamCredit): void {
    this.#streams.get(credit.stream)?.addCredit(credit.bytes)
  }

  end(end: StreamEnd): void {
    const stream = this.#streams.get(end.stream)
    if (end.aborted) stream?.abort('the client went away')
    else stream?.endInbox()
  }

  /** The link is gone, and with it every stream. */
  close(): void {
    for (const stream of this.#streams.values()) stream.abort('the link to the master broke')
  }

  async #answer(open: StreamOpen, stream: RelayedStream): Promise<void> {
    const taken = (bytes: number): void => {
      if (open.duplex) this.#send('StreamCredit', { stream: open.stream, bytes })
    }
    const request = { method: open.method, url: open.path, body: stream.body(taken) }
    const response = await this.#router(request, stream.stop.signal)
    const { status, contentType } = response
    this.#send('StreamHead', { stream: open.stream, status, contentType, window: receiveWindowBytes })
    for await (const piece of response.body) {
      for (let at = 0; at < piece.length; ) {
        const bytes = await stream.spend(piece.length - at)
        this.#send('StreamData', { stream: open.stream, data: piece.subarray(at, at + bytes) })
        at += bytes
      }
    }
    this.#send('StreamEnd', { stream: open.stream, aborted: false })
  }
}
