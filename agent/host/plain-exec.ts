import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { channels } from '../../proto/stream-frame.ts'
import { missingProgram } from './exec.ts'
import { ExecProgram, signalName } from './exec-program.ts'
import { execRefusal } from './exec-refusal.ts'
import { type FrameInput, feed, type InputSink, lostInput } from './frame-input.ts'
import { FrameOutput, faultFrame } from './frame-output.ts'

export interface ExecPlan {
  /** The runtime's command line. */
  readonly command: readonly string[]
  /** What the person asked to run; for messages. */
  readonly program: string
  readonly pidFile: string
  readonly openStdin: boolean
}

interface Parts {
  readonly clock: Clock
  readonly log: Log
}

const graceMs = 2_000
const reapMs = 500
const maxComplaintBytes = 64 * 1024

/**
 * Runs a program inside a container without a terminal. The answer streams stdout and stderr apart and ends with
 * `{exitCode}` or `{error}`. When the client goes away the program gets SIGTERM, after 2 s SIGKILL. `over` is called when
 * nothing of it is left.
 */
export async function startPlainExec(
  parts: Parts,
  plan: ExecPlan,
  input: FrameInput,
  over: () => Promise<void>,
  signal: AbortSignal
): Promise<AsyncIterable<Uint8Array>> {
  const child = await spawnRuntime(plan.command, plan.openStdin)
  const session = new PlainExec(parts, plan, child, new FrameOutput(signal))
  session.run(input, over)
  return session.output.body
}

type Child = ChildProcessByStdio<Writable | null, Readable, Readable>

async function spawnRuntime(command: readonly string[], openStdin: boolean): Promise<Child> {
  const [file = '', ...args] = command
  try {
    const child: ChildProcess = spawn(file, args, { stdio: [openStdin ? 'pipe' : 'ignore', 'pipe', 'pipe'] })
    await once(child, 'spawn')
    return child as Child
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') throw missingProgram(file, e)
    if (errnoOf(e) === 'E2BIG') throw new Fault('invalid', 'arguments and environment are longer than the kernel takes', {}, e)
    throw e
  }
}

class PlainExec {
  readonly output: FrameOutput
  readonly #parts: Parts
  readonly #plan: ExecPlan
  readonly #child: Child
  readonly #program: ExecProgram
  readonly #ended = new AbortController()

  constructor(parts: Parts, plan: ExecPlan, child: Child, output: FrameOutput) {
    this.#parts = parts
    this.#plan = plan
    this.#child = child
    this.output = output
    this.#program = new ExecProgram(plan.pidFile)
  }

  run(input: FrameInput, over: () => Promise<void>): void {
    this.#child.once('exit', () => this.#ended.abort())
    this.#feed(input)
    this.#serve(over)
      .finally(over)
      .catch((e: unknown) => {
        this.#parts.log.error({ err: e }, 'exec.failed')
        this.output.drop()
      })
  }

  async #serve(over: () => Promise<void>): Promise<void> {
    const child = this.#child
    const closed = once(child, 'close')
    const leave = (): void => this.#leave()
    if (this.output.gone.aborted) leave()
    else this.output.gone.addEventListener('abort', leave, { once: true })
    await Promise.all([this.#copyStdout(), this.#copyStderr()])
    await closed
    this.output.gone.removeEventListener('abort', leave)
    const end = this.#end()
    await over()
    await this.output.finish(end)
  }

  async #copyStdout(): Promise<void> {
    for await (const chunk of this.#child.stdout as AsyncIterable<Buffer>) await this.output.relay(channels.stdout, chunk)
  }

  #complaint = ''

  /** Until the program runs, stderr is the runtime's own and is kept for the reason. */
  async #copyStderr(): Promise<void> {
    for await (const chunk of this.#child.stderr as AsyncIterable<Buffer>) {
      if (await this.#program.started(this.#ended.signal)) await this.output.relay(channels.stderr, chunk)
      else if (this.#complaint.length < maxComplaintBytes) this.#complaint += chunk.toString()
    }
  }

  /** What was wrong with the client's frames, or kept them from the program: it ends the program, and the stream with this reason. */
  #inputFault: Fault | undefined

  #end(): unknown {
    if (this.#inputFault !== undefined) return faultFrame(this.#inputFault)
    if (!this.#program.hasStarted) {
      return faultFrame(execRefusal(this.#plan.program, this.#complaint))
    }
    const { exitCode, signalCode } = this.#child
    return { exitCode: signalCode === null ? exitCode : 128 + constants.signals[signalCode] }
  }

  #feed(input: FrameInput): void {
    const { stdin } = this.#child
    const lose = (e: unknown): void => {
      const fault = lostInput(e)
      if (fault === undefined || this.#ended.signal.aborted || this.output.gone.aborted) return
      this.#inputFault ??= fault
      this.#leave()
    }
    stdin?.on('error', lose)
    const sink: InputSink = {
      stdin: async (data) => {
        if (stdin === null || stdin.destroyed || !stdin.writable) return
        if (!stdin.write(data)) await once(stdin, 'drain', { signal: this.#ended.signal })
      },
      stdinEnd: () => void stdin?.end(),
      resize: () => undefined,
      signal: async (name) => {
        if (await this.#program.started(this.#ended.signal)) this.#program.kill(signalName(name))
      }
    }
    feed(input, sink).then(sink.stdinEnd, (e: unknown) => {
      stdin?.end()
      lose(e)
    })
  }

  /** Nobody reads any more: end the program, then whatever of the runtime is left. */
  #leave(): void {
    const end = async (): Promise<void> => {
      const { signal } = this.#ended
      this.#child.stdin?.destroy()
      if (await this.#program.started(signal)) {
        this.#program.kill('SIGTERM')
        // Cut short when the runtime ends, in time or without its program.
        await this.#parts.clock.sleep(graceMs, signal).catch(() => undefined)
        this.#program.kill('SIGKILL')
        // The runtime stays as long as anybody holds the program's output open.
        await this.#parts.clock.sleep(reapMs, signal).catch(() => undefined)
      }
      this.#child.kill('SIGKILL')
    }
    end().catch((e: unknown) => this.#parts.log.error({ err: e }, 'exec.kill_failed'))
  }
}
