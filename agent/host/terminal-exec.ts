import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, read, write } from 'node:fs'
import { open, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from '../../base/fault.ts'
import { channels } from '../../proto/stream-frame.ts'
import { type ExecOrder, parseExecOrder, processOf } from './exec-order.ts'
import { ExecProgram, signalName } from './exec-program.ts'
import { execRefusal } from './exec-refusal.ts'
import { type FrameInput, feed, lostInput } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import { type Libc, loadLibc } from './libc.ts'
import type { TerminalOutput } from './terminal-output.ts'

const hangUpMs = 1_000
const busyMs = 5
const lookMs = 100
const drainMs = 500
const pieceBytes = 64 * 1024
const maxComplaintBytes = 64 * 1024

/**
 * Runs a program on a pseudo-terminal of the container. The runtime makes the terminal, hands us its master and leaves; as
 * subreaper we are the program's parent then. So nothing stands between the terminal and the client: no second line
 * discipline that translates line ends, no second buffer that ends with its process, and the size is there before the program.
 */
export async function execOnTerminal(
  value: Readonly<Record<string, unknown>>,
  input: FrameInput,
  output: TerminalOutput,
  gone: AbortSignal
): Promise<void> {
  const order = parseExecOrder(value)
  const libc = await loadLibc()
  libc.becomeSubreaper()
  output.ready()
  const started = await startProgram(libc, order)
  if (typeof started === 'string') {
    return await output.finish(faultFrame(execRefusal(order.arguments[0] ?? '', started)))
  }
  const program = new ExecProgram(order.pidFile)
  const session = new TerminalSession(libc, started, program)
  session.take(input, gone)
  await output.finish(await session.end(output))
  // A read may still be pending, and an ordinary exit would wait for it.
  libc.exit(0)
}

/** The terminal's master, or what the runtime complained. */
async function startProgram(libc: Libc, order: ExecOrder): Promise<number | string> {
  const { bundleDir, containerId, pidFile } = order
  const name = basename(pidFile, '.pid')
  const processFile = join(bundleDir, `${name}.json`)
  const folder = await open(dirname(pidFile), constants.O_RDONLY | constants.O_DIRECTORY)
  // Through our descriptor the socket's path is short enough for any state directory, for us and for the runtime.
  const socketPath = `/proc/${process.pid}/fd/${folder.fd}/${name}.tty`
  try {
    const config: unknown = JSON.parse(await readFile(join(bundleDir, 'config.json'), 'utf8'))
    await writeFile(processFile, JSON.stringify(processOf(config, order, true)), { mode: 0o600 })
    const listening = libc.listen(socketPath)
    const flags = ['--detach', '--console-socket', socketPath, '--pid-file', pidFile, '--process', processFile]
    const complaint = await runRuntime([...order.command, ...flags, containerId])
    return complaint ?? libc.receiveDescriptor(listening)
  } finally {
    await rm(socketPath, { force: true })
    await rm(processFile, { force: true })
    await folder.close()
  }
}

/** Undefined where the runtime succeeded. Not `close`: the program may hold the pipe. */
async function runRuntime(command: readonly string[]): Promise<string | undefined> {
  const [file = '', ...args] = command
  const child: ChildProcessByStdio<null, null, Readable> = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  child.stderr.on('data', (text: Buffer) => {
    if (complaint.length < maxComplaintBytes) complaint += text.toString()
  })
  const ended = once(child.stderr, 'end')
  const [code]: unknown[] = await once(child, 'exit')
  if (code === 0) {
    child.stderr.destroy()
    ended.catch(() => undefined)
    return undefined
  }
  await ended
  return complaint
}

class TerminalSession {
  readonly #libc: Libc
  readonly #master: number
  readonly #program: ExecProgram
  readonly #closed = new AbortController()
  readonly #ended = new AbortController()
  #pieces = 0
  #isWaitedFor = false
  #isHungUp = false
  #inputFault: Fault | undefined

  constructor(libc: Libc, master: number, program: ExecProgram) {
    this.#libc = libc
    this.#master = master
    this.#program = program
  }

  /**
   * Plain blocking reads, one at a time. libuv's own reading of a terminal ends at the hang-up after the first short read and
   * loses what is behind it.
   */
  async relay(output: TerminalOutput): Promise<void> {
    const buffer = Buffer.allocUnsafe(pieceBytes)
    for (let n = await readSome(this.#master, buffer); n > 0; n = await readSome(this.#master, buffer)) {
      this.#pieces += 1
      this.#isWaitedFor = true
      await output.write(channels.stdout, Buffer.from(buffer.subarray(0, n))).finally(() => {
        this.#isWaitedFor = false
      })
    }
  }

  take(input: FrameInput, gone: AbortSignal): void {
    const hangUp = (): void => this.#hangUp()
    if (gone.aborted) hangUp()
    else gone.addEventListener('abort', hangUp, { once: true })
    feed(input, {
      stdin: (data) => writeAll(this.#master, data),
      stdinEnd: () => undefined, // a terminal's end of input is a key
      resize: (rows, columns) => this.#libc.setTerminalSize(this.#master, rows, columns),
      signal: (name) => this.#program.kill(signalName(name))
    }).then(hangUp, (e: unknown) => {
      this.#inputFault = lostInput(e)
      hangUp()
    })
  }

  /** Resolves with the stream's last frame when the program has ended and its output is passed on. */
  async end(output: TerminalOutput): Promise<unknown> {
    const closed = (): void => this.#closed.abort()
    this.relay(output).then(closed, closed)
    const pid = this.#program.pid
    for (;;) {
      const code = this.#libc.exitOf(pid)
      if (code !== undefined) {
        this.#ended.abort()
        const last = this.#inputFault === undefined ? { exitCode: code } : faultFrame(this.#inputFault)
        await this.#drained()
        return last
      }
      if (this.#closed.signal.aborted) await settled(busyMs)
      else await settled(lookMs, this.#closed.signal)
    }
  }

  /** The terminal ends when its last holder closes it. A daemon that the program left may hold it for ever: quiet is enough. */
  async #drained(): Promise<void> {
    for (let before = -1; !this.#closed.signal.aborted && (this.#isWaitedFor || before !== this.#pieces); ) {
      before = this.#pieces
      await settled(drainMs, this.#closed.signal)
    }
  }

  /** The client is gone: hang up, then end what did not listen. */
  #hangUp(): void {
    if (this.#isHungUp) return
    this.#isHungUp = true
    this.#program.kill('SIGHUP')
    void settled(hangUpMs, this.#ended.signal).then(() => this.#program.kill('SIGKILL'))
  }
}

const readSome = (fd: number, into: Buffer): Promise<number> =>
  new Promise((resolve) => {
    // EIO is how a terminal says that its other side is closed.
    read(fd, into, 0, into.length, null, (e, bytes) => resolve(e === null ? bytes : 0))
  })

/** Waits while the program does not read. That the program has closed its side is no error here. */
async function writeAll(fd: number, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; ) at += await writeSome(fd, data.subarray(at))
}

const writeSome = (fd: number, data: Uint8Array): Promise<number> =>
  new Promise((resolve, reject) => {
    write(fd, data, (e, written) => {
      if (e === null) resolve(written)
      else reject(e)
    })
  })

/** Waits for the time or the signal, whichever is first. */
async function settled(ms: number, signal?: AbortSignal): Promise<void> {
  await pause(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}
