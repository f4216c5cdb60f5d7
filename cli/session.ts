import { systemClock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import { channels, encodeStreamFrame, encodeStreamJson } from '../proto/stream-frame.ts'
import type { StreamEnding, StreamPart } from '../sdk/stream.ts'
import type { Context } from './context.ts'
import { onInterrupts } from './interrupts.ts'
import { copyParts } from './output/stream-copy.ts'

type Connect = (input: AsyncIterable<Uint8Array>, signal: AbortSignal) => Promise<AsyncIterable<StreamPart>>

export interface SessionPlan {
  /** The first frame: what is asked for. */
  readonly open: unknown
  readonly terminal: boolean
  readonly withInput: boolean
  readonly detachHint: string
  readonly connect: Connect
}

export interface RunSessionPlan extends SessionPlan {
  /** Everything that the program writes, from its first byte on. */
  readonly output: (signal: AbortSignal) => Promise<AsyncIterable<StreamPart>>
  readonly interrupt: (signal: string) => void
}

/** docker's detach keys: Ctrl-P Ctrl-Q. */
const detachKeys = Buffer.from([0x10, 0x11])
/** Encoded frames waiting for the network; standard input is paused at this many. */
const mostWaiting = 16

/** Pause before another try to attach to a program that has not started yet. */
const startPollMs = 30

/** Connects our input and output to a running program until it ends or the user detaches. The terminal is always given back. */
export async function holdSession(context: Context, plan: SessionPlan): Promise<StreamEnding | 'detached'> {
  const detach = new AbortController()
  const input = new SessionInput(plan.open)
  const interrupt = (signal: string): void => void input.put(encodeStreamJson(channels.signal, { signal }))
  const release = plan.terminal ? watchTerminal(context, () => input) : forwardSignals(interrupt, detach)
  if (plan.withInput) forwardInput(context, plan.terminal, input, detach)
  else if (!plan.terminal) input.put(inputEnd())
  try {
    return await copyParts(context, await plan.connect(input, AbortSignal.any([context.signal, detach.signal])))
  } catch (e) {
    if (!detach.signal.aborted) throw e
    return 'detached'
  } finally {
    release()
    input.end()
    letGo(context, detach.signal.aborted ? plan.detachHint : undefined)
  }
}

/**
 * The same for a program that is just being started: its output is read from its log, so that nothing of its beginning is
 * missed, and its input is attached as soon as it runs.
 */
export async function holdRun(context: Context, plan: RunSessionPlan): Promise<StreamEnding | 'detached'> {
  const detach = new AbortController()
  const over = new AbortController()
  const feeder: Feeder = { input: new SessionInput(plan.open) }
  const release = plan.terminal ? watchTerminal(context, () => feeder.input) : forwardSignals(plan.interrupt, detach)
  try {
    const signal = AbortSignal.any([context.signal, detach.signal])
    const parts = await plan.output(signal)
    const feeding =
      plan.withInput || plan.terminal ? feed(context, plan, feeder, detach, AbortSignal.any([signal, over.signal])) : undefined
    const failed = feeding?.then(() => new Promise<never>(() => undefined))
    return await (failed === undefined ? copyParts(context, parts) : Promise.race([copyParts(context, parts), failed]))
  } catch (e) {
    if (!detach.signal.aborted) throw e
    return 'detached'
  } finally {
    over.abort()
    release()
    feeder.input.end()
    letGo(context, detach.signal.aborted ? plan.detachHint : undefined)
  }
}

interface Feeder {
  input: SessionInput
}

/** Attaches, again and again while the program does not run yet; what it gives out comes from the log and is dropped here. */
async function feed(
  context: Context,
  plan: RunSessionPlan,
  feeder: Feeder,
  detach: AbortController,
  signal: AbortSignal
): Promise<void> {
  try {
    for await (const _ of await attachWhenRunning(plan, feeder, signal, () => {
      if (plan.withInput) forwardInput(context, plan.terminal, feeder.input, detach)
    }));
  } catch (e) {
    // A program that ended before we attached needs no input; its log tells how it ended.
    if (!signal.aborted && !isFault(e, 'not-found') && !isFault(e, 'unavailable')) throw e
  }
}

async function attachWhenRunning(
  plan: RunSessionPlan,
  feeder: Feeder,
  signal: AbortSignal,
  attached: () => void
): Promise<AsyncIterable<StreamPart>> {
  for (;;) {
    try {
      const parts = await plan.connect(feeder.input, signal)
      attached()
      return parts
    } catch (e) {
      if (!isFault(e, 'conflict')) throw e
    }
    await systemClock.sleep(startPollMs, signal)
    feeder.input.end()
    feeder.input = new SessionInput(plan.open)
  }
}

function letGo({ streams }: Context, hint: string | undefined): void {
  streams.stdin.removeAllListeners('data')
  streams.stdin.pause()
  streams.stdin.unref?.()
  if (hint !== undefined) streams.stderr.write(`\nhearth: ${hint}\n`)
}

const inputEnd = (): Buffer => encodeStreamFrame(channels.stdinEnd, Buffer.alloc(0))

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
  stdin.on('end', () => input.put(inputEnd()))
}

/** Raw mode and window size; the returned function undoes both. */
function watchTerminal(context: Context, input: () => SessionInput): () => void {
  const { stdin, stdout } = context.streams
  const resize = (): void =>
    void input().put(encodeStreamJson(channels.resize, { rows: stdout.rows ?? 24, columns: stdout.columns ?? 80 }))
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

const forwardSignals = (interrupt: (signal: string) => void, detach: AbortController): (() => void) =>
  onInterrupts({ first: interrupt, second: () => detach.abort() })
