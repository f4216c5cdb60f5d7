import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import { channels, streamContentType } from '../../proto/stream-frame.ts'
import { processOf } from '../host/exec-order.ts'
import { type FrameInput, parseJson, parseSize, readFrames } from '../host/frame-input.ts'
import { startPlainExec } from '../host/plain-exec.ts'
import { startTerminal } from '../host/terminal.ts'
import type { LocalResponse } from '../ports.ts'
import { execUser } from './exec-user.ts'
import { type ExecWish, parseExecWish } from './exec-wish.ts'
import { aborted, type LocalTask, type TaskStreams } from './task-routes.ts'

interface Parts {
  readonly runtime: Pick<Runtime, 'execCommand' | 'terminalProgram'>
  readonly clock: Clock
  readonly log: Log
}

interface Config {
  /** Such as `[process.execPath, 'dist/terminal.cjs']`. */
  readonly terminalProgram: readonly string[]
  /** Execs and attaches at the same time; more are refused. */
  readonly maxStreams: number
}

const openMs = 10_000
/** How long after its last output the end of a container may take to be known. */
const endMs = 15_000

/** Of the container, once nothing can run in it any more. */
const endedStates: ReadonlySet<string> = new Set(['exited', 'lost', 'removing', 'removed'])

type Body = AsyncIterable<Uint8Array>

/** The duplex streams into containers, bounded in number. */
export class ContainerStreams implements TaskStreams {
  readonly #parts: Parts
  readonly #config: Config
  #open = 0

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  get open(): number {
    return this.#open
  }

  exec(task: LocalTask, body: Body, signal: AbortSignal): Promise<LocalResponse> {
    return this.#counted(task, body, signal, (first, input, over) => this.#exec(task, parseExecWish(first), input, over, signal))
  }

  attach(task: LocalTask, body: Body, signal: AbortSignal): Promise<LocalResponse> {
    return this.#counted(task, body, signal, (first, input, over) => {
      const size = first['rows'] === undefined ? {} : parseSize(first)
      const socketPath = join(task.bundleDir, task.containerId, 'attach')
      const order = { ...size, containerId: task.containerId, socketPath, ctlPath: join(task.bundleDir, 'ctl') }
      const ending = (gone: AbortSignal): Promise<unknown> => this.#ending(task, gone)
      return startTerminal(this.#terminal(task), { mode: 'attach', order, ending }, input, over, signal)
    })
  }

  async #exec(task: LocalTask, wish: ExecWish, input: FrameInput, over: () => Promise<void>, signal: AbortSignal): Promise<Body> {
    const { containerId, bundleDir } = task
    const name = join(bundleDir, `exec-${randomId()}`)
    const [pidFile, processFile] = [`${name}.pid`, `${name}.process`]
    const user = wish.user === '' ? undefined : await execUser(task, wish.user)
    const full = this.#parts.runtime.execCommand({ ...wish, containerId, pidFile })
    const command = full.slice(0, full.indexOf('exec') + 1)
    const clear = async (): Promise<void> => {
      for (const path of [pidFile, processFile]) await rm(path, { force: true })
    }
    const done = async (): Promise<void> => {
      await clear()
      await over()
    }
    if (wish.terminal) {
      const ending = async (): Promise<unknown> => ({
        error: { code: 'unavailable', message: 'the terminal program ended before its end was told', detail: {} }
      })
      const order = { ...wish, user, command, containerId, bundleDir, pidFile }
      return startTerminal(this.#terminal(task), { mode: 'exec', order, ending }, input, done, signal)
    }
    try {
      // What a command line cannot say of a user, and what no other program of the host should read in it, goes by file.
      const config: unknown = JSON.parse(await readFile(join(bundleDir, 'config.json'), 'utf8'))
      await writeFile(processFile, JSON.stringify(processOf(config, { ...wish, user }, false)), { mode: 0o600 })
      const parts = { clock: this.#parts.clock, log: this.#parts.log.child({ containerId }) }
      const run = [...command, '--pid-file', pidFile, '--process', processFile, containerId]
      const plan = { command: run, program: wish.arguments[0] ?? '', pidFile, openStdin: wish.openStdin }
      return await startPlainExec(parts, plan, input, done, signal)
    } catch (e) {
      await clear()
      throw e
    }
  }

  #terminal(task: LocalTask) {
    const { clock, log } = this.#parts
    return {
      clock,
      log: log.child({ containerId: task.containerId }),
      program: this.#parts.runtime.terminalProgram(task.containerId) ?? this.#config.terminalProgram
    }
  }

  async #counted(
    task: LocalTask,
    body: Body,
    signal: AbortSignal,
    start: (first: Readonly<Record<string, unknown>>, input: FrameInput, over: () => Promise<void>) => Promise<Body>
  ): Promise<LocalResponse> {
    await aborted(task.launched, signal)
    if (task.ended.aborted || endedStates.has(task.state)) {
      throw new Fault('conflict', `task ${task.taskId} has ended`, { state: task.state })
    }
    if (task.state !== 'running') {
      throw new Fault('conflict', `task ${task.taskId} is ${task.state}, not running`, { state: task.state })
    }
    if (this.#open >= this.#config.maxStreams) {
      const message = `${this.#open} programs and terminals are open in containers of this node, the most it takes: close one`
      throw new Fault('exhausted', message, { limit: this.#config.maxStreams })
    }
    this.#open += 1
    let isOver = false
    const over = async (): Promise<void> => {
      if (!isOver) this.#open -= 1
      isOver = true
    }
    try {
      const input = readFrames(body)
      const first = await this.#firstFrame(input, signal)
      return { status: 200, contentType: streamContentType, body: await start(first, input, over) }
    } catch (e) {
      await over()
      throw e
    }
  }

  /** A client that opens a stream and says nothing holds its place for 10 s at most. */
  async #firstFrame(input: FrameInput, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
    const came = new AbortController()
    const late = this.#parts.clock.sleep(openMs, AbortSignal.any([signal, came.signal])).then(() => {
      throw new Fault('timeout', 'the stream was opened and no open frame came')
    })
    late.catch(() => undefined)
    const frame = await Promise.race([input.next(), late]).finally(() => came.abort())
    if (frame.done === true || frame.value.channel !== channels.open) {
      throw new Fault('invalid', 'the first frame of a stream is open, with what is asked for')
    }
    return parseJson(frame.value.data)
  }

  /** The container closed its terminal: its end is being recorded, unless only the connection was lost. */
  async #ending(task: LocalTask, gone: AbortSignal): Promise<unknown> {
    if (!task.ended.aborted) {
      await this.#parts.clock.sleep(endMs, AbortSignal.any([task.ended, gone])).catch(() => undefined)
    }
    return { status: task.ended.aborted ? task.latest() : null }
  }
}
