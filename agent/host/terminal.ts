import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { Fault, isFaultCode } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import {
  type Channel,
  channels,
  encodeStreamFrame,
  encodeStreamJson,
  type StreamFrame,
  StreamFrameDecoder
} from '../../proto/stream-frame.ts'
import { type FrameInput, lostInput, parseJson } from './frame-input.ts'
import { FrameOutput, faultFrame } from './frame-output.ts'

interface Parts {
  readonly clock: Clock
  readonly log: Log
  /** The command line of the terminal program, such as `node dist/terminal.cjs`; its mode is appended. */
  readonly program: readonly string[]
}

export interface TerminalPlan {
  readonly mode: 'exec' | 'attach'
  /** First frame for the child: an ExecOrder or AttachOrder of terminal-main.ts. */
  readonly order: Readonly<Record<string, unknown>>
  /** What the stream ends with where the child said nothing: its connection to the container is at its end. */
  readonly ending: (gone: AbortSignal) => Promise<unknown>
}

const readyMs = 20_000
const graceMs = 5_000
const maxErrorBytes = 4096

/**
 * Bridges a client to a terminal through a short-lived child, which alone loads native code. Rejects where the child could
 * not connect; once it is ready the answer is a stream. When the client goes away the child's input ends, and the child hangs
 * up; `over` is called when nothing of it is left.
 */
export async function startTerminal(
  parts: Parts,
  plan: TerminalPlan,
  input: FrameInput,
  over: () => Promise<void>,
  signal: AbortSignal
): Promise<AsyncIterable<Uint8Array>> {
  const session = new TerminalSession(parts, plan, new FrameOutput(signal))
  return await session.start(input, over)
}

class TerminalSession {
  readonly #parts: Parts
  readonly #plan: TerminalPlan
  readonly #output: FrameOutput
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #ended = new AbortController()
  #said = ''
  #end: Readonly<Record<string, unknown>> | undefined
  #inputFault: Fault | undefined

  constructor(parts: Parts, plan: TerminalPlan, output: FrameOutput) {
    this.#parts = parts
    this.#plan = plan
    this.#output = output
    const [file = '', ...args] = parts.program
    this.#child = spawn(file, [...args, plan.mode], { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  async start(input: FrameInput, over: () => Promise<void>): Promise<AsyncIterable<Uint8Array>> {
    const child = this.#child
    const closed = once(child, 'close').finally(() => this.#ended.abort())
    child.stdin.on('error', () => undefined) // the child has ended; `close` follows
    child.stderr.on('data', (text: Buffer) => {
      if (this.#said.length < maxErrorBytes) this.#said += text.toString()
    })
    const leave = (): void => this.#leave()
    this.#output.gone.addEventListener('abort', leave, { once: true })
    child.stdin.write(encodeStreamJson(channels.open, this.#plan.order))
    const frames = childFrames(child.stdout)
    const finish = async (): Promise<void> => {
      await closed
      this.#output.gone.removeEventListener('abort', leave)
      await over()
    }
    try {
      await this.#ready(frames, closed)
    } catch (e) {
      this.#leave()
      child.stdout.resume()
      await finish()
      throw e
    }
    this.#forward(input)
    this.#serve(frames, closed, over)
      .finally(finish)
      .catch((e: unknown) => {
        this.#parts.log.error({ err: e }, 'terminal.failed')
        this.#output.drop()
      })
    return this.#output.body
  }

  /** The child's first frame: `progress` as soon as it is connected, `end` with an error otherwise. */
  async #ready(frames: AsyncIterator<StreamFrame>, closed: Promise<unknown>): Promise<void> {
    const late = this.#parts.clock.sleep(readyMs, this.#ended.signal).then(
      () => {
        throw new Fault('timeout', `the terminal was not ready after ${readyMs} ms`)
      },
      () => undefined
    )
    const first = await Promise.race([frames.next(), late.then(() => frames.next())])
    if (first.done === true) {
      await closed
      throw new Fault('unavailable', `the terminal program ended at once: ${this.#said.trim().slice(-500)}`)
    }
    const { channel, data } = first.value
    if (channel === channels.progress) return
    throw endFault(channel === channels.end ? parseJson(data) : {})
  }

  async #serve(frames: AsyncIterator<StreamFrame>, closed: Promise<unknown>, over: () => Promise<void>): Promise<void> {
    for (let next = await frames.next(); next.done !== true; next = await frames.next()) {
      const { channel, data } = next.value
      if (channel === channels.end) this.#end = parseJson(data)
      else if (isOutput(channel)) await this.#output.relay(channel, data)
    }
    await closed
    const said = this.#inputFault === undefined ? this.#end : faultFrame(this.#inputFault)
    const end = said ?? (await this.#plan.ending(this.#output.gone))
    await over()
    await this.#output.finish(end)
  }

  /** Frames go on as they are; the child checks them. */
  #forward(input: FrameInput): void {
    const { stdin } = this.#child
    const pump = async (): Promise<void> => {
      for (let next = await input.next(); next.done !== true && stdin.writable; next = await input.next()) {
        const { channel, data } = next.value
        if (!isInput(channel)) continue
        if (!stdin.write(encodeStreamFrame(channel, data))) await once(stdin, 'drain', { signal: this.#ended.signal })
      }
    }
    // The end of the client's frames is no end of the terminal: only `gone` hangs up.
    pump().catch((e: unknown) => {
      if (this.#ended.signal.aborted) return
      // What the program ends with from here on is our doing: its exit code would be taken for its own.
      this.#inputFault = lostInput(e)
      this.#leave()
    })
  }

  #isLeft = false

  #leave(): void {
    if (this.#isLeft) return
    this.#isLeft = true
    this.#child.stdin.end()
    // Its input may be full, and the end of it unseen.
    this.#child.kill('SIGHUP')
    this.#parts.clock.sleep(graceMs, this.#ended.signal).then(
      () => this.#child.kill('SIGKILL'),
      () => undefined
    )
  }
}

async function* childFrames(from: Readable): AsyncGenerator<StreamFrame, void, undefined> {
  const decoder = new StreamFrameDecoder()
  for await (const chunk of from as AsyncIterable<Buffer>) yield* decoder.push(chunk)
}

const isOutput = (channel: number): channel is Channel => channel === channels.stdout || channel === channels.stderr

const inputs: ReadonlySet<number> = new Set([channels.stdin, channels.stdinEnd, channels.resize, channels.signal])
const isInput = (channel: number): channel is Channel => inputs.has(channel)

function endFault(end: Readonly<Record<string, unknown>>): Fault {
  const error = end['error']
  if (typeof error === 'object' && error !== null && 'code' in error && 'message' in error) {
    const { code, message } = error
    if (typeof code === 'string' && isFaultCode(code) && typeof message === 'string') return new Fault(code, message)
  }
  return new Fault('unavailable', 'the terminal program ended without a reason')
}
