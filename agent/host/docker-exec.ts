import { once } from 'node:events'
import { fstatSync, readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../base/fault.ts'
import { containerName } from '../../isolators/runtime/docker/docker.ts'
import type { Engine, EngineExec } from '../../isolators/runtime/docker/engine.ts'

/** Programs inside containers of Docker's, asked for in runc's words. */

const lookMs = 5

interface ProcessWords {
  readonly args: readonly string[]
  readonly env?: readonly string[]
  readonly cwd?: string
  readonly user?: { readonly uid: number; readonly gid: number }
}

/** Engine API 1.41, ContainerExec, out of the runtime spec's `process`. */
export const execBody = (process: ProcessWords, terminal: boolean, stdin: boolean): Readonly<Record<string, unknown>> => ({
  ...{ AttachStdin: stdin, AttachStdout: true, AttachStderr: true, Tty: terminal },
  ...{ Cmd: process.args, Env: process.env ?? [], WorkingDir: process.cwd ?? '' },
  User: process.user === undefined ? '' : `${process.user.uid}:${process.user.gid}`
})

/** The program's pid on the host; 0 where it has not begun and never will. */
export async function pidOf(exec: EngineExec): Promise<number> {
  for (;;) {
    const { pid, running, exitCode } = await exec.inspect()
    if (pid > 0 || (!running && exitCode !== undefined)) return pid
    await pause(lookMs)
  }
}

/** The exit code, once Docker knows it too: the output may end before. */
export async function exitOf(exec: EngineExec): Promise<number> {
  for (;;) {
    const { running, exitCode } = await exec.inspect()
    if (!running && exitCode !== undefined) return exitCode
    await pause(lookMs)
  }
}

/** In one step: who waits for the file reads it when it sees it. */
export async function tellPid(pidFile: string, pid: number): Promise<void> {
  await writeFile(`${pidFile}.draft`, String(pid), { mode: 0o600 })
  await rename(`${pidFile}.draft`, pidFile)
}

/** Output goes on only once the program is known to have begun: what comes of one that has not is Docker's complaint. */
export async function plainExec(engine: Engine, words: readonly string[]): Promise<number> {
  const after = (flag: string): string => words[words.indexOf(flag) + 1] ?? ''
  const containerId = words.at(-1) ?? ''
  const process_ = JSON.parse(readFileSync(after('--process'), 'utf8')) as ProcessWords
  const stdin = !fstatSync(0).isCharacterDevice()
  const exec = await engine.exec(containerName(containerId), execBody(process_, false, stdin))
  const { stream } = exec
  if (stdin) process.stdin.pipe(stream)
  const begun = pidOf(exec)
  const reading = relay(stream, begun)
  const pid = await begun
  if (pid > 0) await tellPid(after('--pid-file'), pid)
  await reading
  process.stdin.destroy()
  return exitOf(exec)
}

async function relay(stream: NodeJS.ReadableStream, begun: Promise<number>): Promise<void> {
  for await (const { channel, data } of heads(stream)) {
    const to = (await begun) === 0 || channel === 2 ? process.stderr : process.stdout
    if (!to.write(data)) await once(to, 'drain')
  }
}

/** Engine API, "Stream format". */
export async function* heads(stream: NodeJS.ReadableStream): AsyncGenerator<{ channel: number; data: Buffer }, void, undefined> {
  let held = Buffer.alloc(0)
  for await (const chunk of stream) {
    held = Buffer.concat([held, chunk as Buffer])
    while (held.length >= 8 && held.length >= 8 + held.readUInt32BE(4)) {
      const end = 8 + held.readUInt32BE(4)
      yield { channel: held[0] ?? 0, data: held.subarray(8, end) }
      held = held.subarray(end)
    }
  }
  // A complaint of Docker's own may come without a head.
  if (held.length > 0) yield { channel: 2, data: held }
}

export const textOf = (order: Readonly<Record<string, unknown>>, name: string): string => {
  const found = order[name]
  if (typeof found === 'string') return found
  throw new Fault('invalid', `an order holds ${name}, a text`)
}
