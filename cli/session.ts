import { channels, encodeStreamFrame, encodeStreamJson } from '../proto/stream-frame.ts'
import type { StreamEnding, StreamPart } from '../sdk/stream.ts'
import { type Context, writeOut } from './context.ts'
import { onInterrupts } from './interrupts.ts'

export interface SessionPlan {
  /** The first frame: what is asked for. */
  readonly open: unknown
  readonly terminal: boolean
  readonly withInput: boolean
  readonly detachHint: string
  readonly connect: (input: AsyncIterable<Uint8Array>, signal: AbortSignal) => Promise<AsyncIterable<StreamPart>>
}

/** docker's detach keys: Ctrl-P Ctrl-Q. */
const detachKeys = Buffer.from([0x10, 0x11])
/** Encoded frames waiting for the network; standard input is paused at this many. */
const mostWaiting = 16

/** Connects our input and output to a program until it ends or the user detaches. The terminal is always given back. */
export async function holdSession(context: Context, plan: SessionPlan): Promise<StreamEnding | 'detached'> {
  const { stdout, stderr } = context.streams
  const detach = new AbortController()
  const input = new SessionInput(plan.open)
  const release = plan.terminal ? watchTerminal(context, input) : forwardSignals(input, detach)
  if (plan.withInput) forwardInput(context, plan.terminal, input, detach)
  else if (!plan.terminal) input.put(encodeStreamFrame(channels.stdinEnd, Buffer.alloc(0)))
  try {
    const parts = await plan.connect(input, AbortSignal.any([context.signal, detach.signal]))
    for await (const part of parts) {
      if (part.kind === 'stdout') await writeOut(stdout, part.data)
      else if (part.kind === 'stderr') await writeOut(stderr, part.data)
      else if (part.kind === 'end') return part.ending
    }
    return {}
  } catch (e) {
    if (!detach.signal.aborted) throw e
    return 'detached'
  } finally {
    release()
    input.end()
    context.streams.stdin.removeAllListeners('data')
    context.streams.stdin.pause()
    context.streams.stdin.unref?.()
    if (detach.signal.aborted) stderr.write(`\nhearth: ${plan.detachHint}\n`)
  }
}

/** For the open frame of an attach: the size where there is a terminal. */
export const windowSize = (context: Context, terminal: boolean): { readonly rows?: number; readonly columns?: number } =>
  terminal ? { rows: context.streams.stdout.rows ?? 24, columns: context.streams.stdout.columns ?? 80 } : {}

/** Frames for the request's body, bounded: `put` says when the source should pause, `onSpace` when it may go on. */
class SessionInput implements AsyncIterable<Uint8Array> {
  readonly #frames: Uint8Array[]
  #wake: (() => void) | undefined
  #ended = false
  onSpace: () => void = () => undefined

  constructor(open: unknown) {
    this.#frames = [encodeStreamJson(channels.open, open)]
  }

  put(frame: Uint8Array): boolean {
    if (!this.#ended) this.#frames.push(frame)
    this.#wake?.()
    return this.#frames.length < mostWaiting
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift()
      if (frame !== undefined) {
        if (this.#frames.length === 0) this.onSpace()
        yield frame
      } else if (this.#ended) return
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
    }
  }
}

function forwardInput(context: Context, terminal: boolean, input: SessionInput, detach: AbortController): void {
  const { stdin } = context.streams
  input.onSpace = () => void stdin.resume()
  let heldKey = false
  stdin.on('data', (chunk: Buffer) => {
    let data = heldKey ? Buffer.concat([detachKeys.subarray(0, 1), chunk]) : chunk
    heldKey = false
    if (terminal) {
      if (data.includes(detachKeys)) return detach.abort()
      heldKey = data.at(-1) === detachKeys[0]
      if (heldKey) data = data.subarray(0, -1)
    }
    if (data.length > 0 && !input.put(encodeStreamFrame(channels.stdin, data))) stdin.pause()
  })
  stdin.on('end', () => input.put(encodeStreamFrame(channels.stdinEnd, Buffer.alloc(0))))
}

/** Raw mode and window size; the returned function undoes both. */
function watchTerminal(context: Context, input: SessionInput): () => void {
  const { stdin, stdout } = context.streams
  const resize = (): void =>
    void input.put(encodeStreamJson(channels.resize, { rows: stdout.rows ?? 24, columns: stdout.columns ?? 80 }))
  const restore = (): void => void stdin.setRawMode?.(false)
  stdin.setRawMode?.(true)
  stdout.on('resize', resize)
  process.once('exit', restore)
  return () => {
    stdout.removeListener('resize', resize)
    process.removeListener('exit', restore)
    restore()
  }
}

const forwardSignals = (input: SessionInput, detach: AbortController): (() => void) =>
  onInterrupts({
    first: (signal) => void input.put(encodeStreamJson(channels.signal, { signal })),
    second: () => detach.abort()
  })
