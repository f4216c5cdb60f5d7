import { Fault } from '../../base/fault.ts'
import type { Init } from '../../proto/codec.ts'
import type { Messages, StreamCredit, StreamData, StreamEnd, StreamHead } from '../../proto/gen/messages.ts'
import type { RelayRequest, RelayResponse } from '../link.ts'

/** Bytes that either side may have under way on one stream before the other gives credit. */
export const streamWindow = 256 * 1024
/** Streams of one agent at a time; more are refused. */
const maxStreams = 256
/** Largest piece of a stream in one frame: small, so that heartbeats and statuses get through between them. */
const pieceBytes = 64 * 1024

type StreamKind = 'StreamOpen' | 'StreamData' | 'StreamCredit' | 'StreamEnd'

interface RelayParts {
  readonly send: <K extends StreamKind>(kind: K, message: Init<Messages[K]>) => void
  /** Resolves once the link's socket takes more, or rejects when it is gone. */
  readonly drained: () => Promise<void>
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Of the leader that asks: agents that know a later one refuse. */
  readonly epoch: () => number
}

interface RelayConfig {
  /** Silence of the agent before it has answered, after which the request fails. */
  readonly answerMs: number
}

/** Byte pipes inside one agent link. Each direction has its own window; a stream that overruns it is cut. */
export class StreamRelay {
  readonly #parts: RelayParts
  readonly #config: RelayConfig
  readonly #streams = new Map<number, RelayStream>()
  #next = 1

  constructor(parts: RelayParts, config: RelayConfig) {
    this.#parts = parts
    this.#config = config
  }

  get size(): number {
    return this.#streams.size
  }

  async open(request: RelayRequest, signal: AbortSignal): Promise<RelayResponse> {
    signal.throwIfAborted()
    if (this.#streams.size >= maxStreams) {
      throw new Fault('exhausted', `the node serves ${maxStreams} streams already; close some or try again later`)
    }
    const id = this.#next
    this.#next = (this.#next % 0xffff_ffff) + 1
    const stream = new RelayStream(id, this.#parts, () => this.#streams.delete(id))
    this.#streams.set(id, stream)
    const { method, path, body } = request
    const stop = (): void => stream.abort(signal.reason as Error)
    signal.addEventListener('abort', stop, { once: true })
    void stream.closed.then(() => signal.removeEventListener('abort', stop))
    const isWhole = body instanceof Uint8Array
    this.#parts.send('StreamOpen', {
      stream: id,
      method,
      path,
      body: isWhole ? body : new Uint8Array(),
      duplex: !isWhole,
      window: streamWindow,
      epoch: this.#parts.epoch()
    })
    if (!isWhole) void stream.pump(body)
    const head = await this.#answer(stream)
    return { status: head.status, contentType: head.contentType, body: stream.read() }
  }

  head(message: StreamHead): void {
    this.#streams.get(message.stream)?.onHead(message)
  }

  data(message: StreamData): void {
    this.#streams.get(message.stream)?.onData(message.data)
  }

  credit(message: StreamCredit): void {
    this.#streams.get(message.stream)?.onCredit(message.bytes)
  }

  end(message: StreamEnd): void {
    this.#streams.get(message.stream)?.onEnd(message.aborted)
  }

  /** The link is gone. */
  fail(why: Error): void {
    for (const stream of [...this.#streams.values()]) stream.fail(why)
  }

  async #answer(stream: RelayStream): Promise<StreamHead> {
    const answered = new AbortController()
    const watch = this.#watch(stream, answered.signal)
    try {
      return await stream.head
    } finally {
      answered.abort()
      await watch
    }
  }

  async #watch(stream: RelayStream, signal: AbortSignal): Promise<void> {
    const { answerMs } = this.#config
    for (;;) {
      const before = stream.activity
      await this.#parts.sleep(answerMs, signal).catch(() => undefined) // Ends early only when the answer is there.
      if (signal.aborted) return
      if (stream.activity === before) {
        stream.abort(new Fault('timeout', `the node did not answer within ${answerMs / 1000} s`))
        return
      }
    }
  }
}

class RelayStream {
  readonly head: Promise<StreamHead>
  readonly closed: Promise<void>
  /** Grows with everything that moves on the stream. */
  activity = 0
  readonly #id: number
  readonly #parts: RelayParts
  readonly #release: () => void
  readonly #received: Uint8Array[] = []
  #unread = 0
  #uncredited = 0
  /** What the agent may be sent. It takes a first window before it answers: an exec is told what to run in its body. */
  #window = streamWindow
  #ended = false
  #over = false
  #failure: Error | undefined
  #wakeReader: (() => void) | undefined
  #wakeWriter: (() => void) | undefined
  #setHead: (head: StreamHead) => void = () => undefined
  #failHead: (why: Error) => void = () => undefined
  #setClosed: () => void = () => undefined

  constructor(id: number, parts: RelayParts, release: () => void) {
    this.#id = id
    this.#parts = parts
    this.#release = release
    this.head = new Promise((resolve, reject) => {
      this.#setHead = resolve
      this.#failHead = reject
    })
    this.head.catch(() => undefined) // Told to whoever awaits it; a stream that failed before has no such one.
    this.closed = new Promise((resolve) => {
      this.#setClosed = resolve
    })
  }

  onHead(head: StreamHead): void {
    this.activity += 1
    this.#window += Math.max(0, head.window - streamWindow)
    this.#setHead(head)
    this.#wakeWriter?.()
  }

  onData(data: Uint8Array): void {
    this.activity += 1
    if (this.#over) return
    if (this.#unread + data.length > streamWindow) {
      this.abort(new Fault('corrupt', 'the node sent more than its window allows'))
      return
    }
    this.#unread += data.length
    // A copy: the bytes are a view of a whole chunk of the link, which must not be held back by a slow reader.
    this.#received.push(Uint8Array.from(data))
    this.#wakeReader?.()
  }

  onCredit(bytes: number): void {
    this.activity += 1
    this.#window += bytes
    this.#wakeWriter?.()
  }

  onEnd(aborted: boolean): void {
    if (aborted) this.fail(new Fault('unavailable', 'the node broke the stream off'))
    else {
      this.#ended = true
      this.#failHead(new Fault('unavailable', 'the node ended the stream without an answer'))
      this.#close()
    }
  }

  /** Tells the agent to stop. */
  abort(why: Error): void {
    if (!this.#over) this.#parts.send('StreamEnd', { stream: this.#id, aborted: true })
    this.fail(why)
  }

  fail(why: Error): void {
    if (this.#over) return
    this.#failure = why
    this.#failHead(why)
    this.#close()
  }

  async *read(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const data = this.#received.shift()
        if (data !== undefined) {
          yield data
          this.#taken(data.length)
        } else if (this.#failure !== undefined) throw this.#failure
        else if (this.#ended) return
        else await this.#more()
      }
    } finally {
      this.abort(new Fault('unavailable', 'nobody reads the stream any more'))
    }
  }

  /** Sends a request body as far as the agent gives credit; half-closes at its end. */
  async pump(body: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of body) {
        for (let at = 0; at < chunk.length; ) {
          while (this.#window === 0 && !this.#over) await this.#credit()
          if (this.#over) return
          const data = chunk.subarray(at, at + Math.min(pieceBytes, this.#window))
          this.#window -= data.length
          at += data.length
          this.activity += 1
          this.#parts.send('StreamData', { stream: this.#id, data })
          await this.#parts.drained()
        }
        if (this.#over) return
      }
      if (!this.#over) this.#parts.send('StreamEnd', { stream: this.#id, aborted: false })
    } catch (cause) {
      this.abort(new Fault('unavailable', 'the request broke off', {}, cause))
    }
  }

  #taken(bytes: number): void {
    this.#unread -= bytes
    this.#uncredited += bytes
    if (this.#over || this.#uncredited < streamWindow / 4) return
    this.#parts.send('StreamCredit', { stream: this.#id, bytes: this.#uncredited })
    this.#uncredited = 0
  }

  #close(): void {
    this.#over = true
    this.#release()
    this.#setClosed()
    this.#wakeReader?.()
    this.#wakeWriter?.()
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeReader = resolve
    })
  }

  #credit(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeWriter = resolve
    })
  }
}
