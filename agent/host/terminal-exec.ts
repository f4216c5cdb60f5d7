import { existsSync, write } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { IPty } from '@lydell/node-pty'
import { errnoOf, Fault } from '../../base/fault.ts'
import { channels } from '../../proto/stream-frame.ts'
import { ExecProgram, signalName } from './exec-program.ts'
import { execRefusal } from './exec-refusal.ts'
import { type FrameInput, feed, parseSize } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import type { TerminalOutput } from './terminal-output.ts'

const hangUpMs = 1_000
const busyMs = 5
const lookMs = 20
const maxHeldBytes = 64 * 1024

/** Runs `runc exec -t` on a pseudo-terminal of ours; runc bridges to the container's. */
export async function execOnTerminal(
  order: Readonly<Record<string, unknown>>,
  input: FrameInput,
  output: TerminalOutput
): Promise<void> {
  const { command, program: name, pidFile } = parseOrder(order)
  const { rows, columns } = parseSize(order)
  const { spawn } = await import('@lydell/node-pty')
  const [file = '', ...args] = command
  // `encoding: null` hands out bytes: a character may be cut anywhere.
  const pty = spawn(file, args, { name: 'xterm-256color', rows, cols: columns, encoding: null, cwd: '/' })
  const program = new ExecProgram(pidFile)
  const ended = new AbortController()
  const exit = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode, signal }) => {
      ended.abort()
      resolve(signal === undefined || signal === 0 ? exitCode : 128 + signal)
    })
  })
  const complaint = relayOutput(pty, program, ended.signal, output)
  output.ready()
  const hangUp = (): Promise<void> => end(pty, program, ended.signal)
  feed(input, {
    stdin: (data) => writeAll(pty, data, ended.signal),
    stdinEnd: () => undefined, // a terminal's end of input is a key
    resize: (r, c) => pty.resize(c, r),
    signal: async (text) => {
      if (await program.started(ended.signal)) program.kill(signalName(text))
    }
  }).then(hangUp, hangUp)
  const code = await exit
  const last = program.hasStarted ? { exitCode: code } : faultFrame(execRefusal(name, await complaint))
  await output.finish(last)
}

function parseOrder(order: Readonly<Record<string, unknown>>) {
  const { command, program, pidFile } = order
  const isList = Array.isArray(command) && command.every((c) => typeof c === 'string')
  if (!isList || typeof program !== 'string' || typeof pidFile !== 'string') {
    throw new Fault('invalid', 'an exec order holds command, program and pidFile')
  }
  return { command: command as readonly string[], program, pidFile }
}

/** Passes output on; what comes before the program runs is runc's own, kept and resolved as its complaint. */
async function relayOutput(pty: IPty, program: ExecProgram, ended: AbortSignal, output: TerminalOutput): Promise<string> {
  const held: Buffer[] = []
  let heldBytes = 0
  let passing = false
  const source = pausable(pty)
  pty.onData((text) => {
    const data = Buffer.from(text)
    if (passing) {
      output.relay(channels.stdout, data, source)
      return
    }
    held.push(data)
    heldBytes += data.length
    if (heldBytes >= maxHeldBytes) pty.pause()
  })
  if (await program.started(ended)) {
    passing = true
    for (const data of held.splice(0)) output.relay(channels.stdout, data, source)
    pty.resume()
  }
  return Buffer.concat(held).toString()
}

/**
 * node-pty closes its side 200 ms after the program's end, read or not: a pause must be over before, and what the kernel
 * still holds then is a few pages.
 */
function pausable(pty: IPty): { pause(): void; resume(): void } {
  let timer: NodeJS.Timeout | undefined
  const resume = (): void => {
    clearInterval(timer)
    timer = undefined
    pty.resume()
  }
  const look = (): void => {
    if (!existsSync(`/proc/${pty.pid}`)) resume()
  }
  return {
    resume,
    pause() {
      if (!existsSync(`/proc/${pty.pid}`)) return
      pty.pause()
      timer ??= setInterval(look, lookMs)
    }
  }
}

/** The client is gone: hang up, then end what did not listen. */
async function end(pty: IPty, program: ExecProgram, ended: AbortSignal): Promise<void> {
  if (ended.aborted) return
  program.kill('SIGHUP')
  pty.kill('SIGHUP')
  await pause(hangUpMs, undefined, { signal: ended }).then(
    () => {
      program.kill('SIGKILL')
      pty.kill('SIGKILL')
    },
    () => undefined
  )
}

/** Writes to the terminal itself, not into node-pty's unbounded queue; waits while the program does not read. */
async function writeAll(pty: IPty, data: Uint8Array, ended: AbortSignal): Promise<void> {
  const fd = 'fd' in pty && typeof pty.fd === 'number' ? pty.fd : -1
  for (let at = 0; at < data.length && !ended.aborted; ) {
    const written = await writeSome(fd, data.subarray(at))
    if (written === 'closed') return
    at += written
    if (written === 0) await pause(busyMs, undefined, { signal: ended }).catch(() => undefined)
  }
}

function writeSome(fd: number, data: Uint8Array): Promise<number | 'closed'> {
  return new Promise((resolve) => {
    write(fd, data, (e, written) => {
      if (e === null) resolve(written)
      else resolve(errnoOf(e) === 'EAGAIN' ? 0 : 'closed')
    })
  })
}
