import { spawn } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../../base/fault.ts'
import { type OwnCheckEnd, readOwnCheck } from '../own-check-answer.ts'
import type { Check } from '../verdict.ts'

const mostChecks = 64
const atOnce = 8
/** No check is begun later than this. */
const allTogetherMs = 30_000
const mostOutputBytes = 4_096
const lastWordsMs = 500

interface Config {
  readonly directory: string
  readonly timeoutMs: number
}

/**
 * Runs every executable of the folder, eight at a time, each in a process group of its own that is killed as a whole at the
 * deadline, or when the signal aborts: a check that hangs holds up nobody. They run as root, so a file that somebody else
 * could have written is not run.
 */
export async function runOwnChecks(config: Config, signal: AbortSignal): Promise<readonly Check[]> {
  const names = await readdir(config.directory).catch((e: unknown) => {
    if (errnoOf(e) === 'ENOENT') return [] // nobody has written one
    throw e
  })
  // Editors and package managers leave copies behind.
  const wanted = names.filter((name) => /^[\w][\w.-]*$/.test(name) && !/(~|\.dpkg-\w+|\.bak|\.swp)$/.test(name)).sort()
  const waiting = wanted.slice(0, mostChecks)
  const rows = new Map<string, Check>()
  const untilMs = performance.now() + allTogetherMs
  const noTime = { kind: 'not-run', why: `no time was left: the checks before it took ${allTogetherMs / 1_000} s` } as const
  const lane = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const end = performance.now() < untilMs ? await runOne(join(config.directory, name), config, signal) : noTime
      if (end !== undefined) rows.set(name, readOwnCheck(name, end))
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  const left = wanted.slice(mostChecks).map((name) => readOwnCheck(name, { kind: 'not-run', why: `only ${mostChecks} are run` }))
  return [...wanted.flatMap((name) => rows.get(name) ?? []), ...left]
}

/** Undefined for what is no executable file. */
async function runOne(path: string, config: Config, signal: AbortSignal): Promise<OwnCheckEnd | undefined> {
  signal.throwIfAborted()
  const refusal = await whyNot([config.directory, path])
  if (refusal === 'no-program') return undefined
  if (refusal !== undefined) return { kind: 'not-run', why: refusal }
  return await runGroup(path, config.timeoutMs, signal)
}

async function whyNot([directory = '', path = '']: readonly string[]): Promise<string | undefined> {
  const [folder, file] = [await stat(directory), await stat(path).catch(() => undefined)] // a broken link is no program
  if (file === undefined || !file.isFile() || (file.mode & 0o111) === 0) return 'no-program'
  const self = process.getuid?.() ?? 0
  for (const [what, facts] of [
    [directory, folder],
    [path, file]
  ] as const) {
    if ((facts.uid !== 0 && facts.uid !== self) || (facts.mode & 0o022) !== 0) {
      return `not run: ${what} can be written by others; chown root and chmod go-w it`
    }
  }
  return undefined
}

/** The child, its end and its output; whatever it leaves in its group is killed with it. */
async function runGroup(path: string, timeoutMs: number, signal: AbortSignal): Promise<OwnCheckEnd> {
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', HOME: '/' }
  const child = spawn(path, [], { cwd: '/', env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const output: Buffer[] = []
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    if (bytes < mostOutputBytes) output.push(chunk.subarray(0, mostOutputBytes - bytes))
    bytes += chunk.length
  })
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const exited = new Promise<OwnCheckEnd>((resolve) => {
    child.once('error', (e) => resolve({ kind: 'not-run', why: `cannot be run: ${e.message}` }))
    child.once('exit', (code, name) =>
      resolve(code === null ? { kind: 'signaled', signal: String(name) } : { kind: 'exited', code, output: Buffer.alloc(0) })
    )
  })
  const end = (await within(exited, timeoutMs, signal)) ?? ({ kind: 'timed-out', afterMs: timeoutMs } as const)
  killGroup(child.pid)
  // A process that has left the group may hold the output open; what was written until now counts.
  if (end.kind !== 'not-run') await within(closed, lastWordsMs, signal)
  child.stdout.destroy()
  return end.kind === 'exited' ? { ...end, output: Buffer.concat(output) } : end
}

/** Undefined where the time is over or the signal aborts first. */
function within<T>(promise: Promise<T>, ms: number, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve) => {
    const end = (value: T | undefined): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      resolve(value)
    }
    const stop = (): void => end(undefined)
    const timer = setTimeout(stop, ms)
    signal.addEventListener('abort', stop, { once: true })
    void promise.then(end)
  })
}

/** The group's number is free again once its last process is gone; then there is nothing to kill. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (e) {
    if (errnoOf(e) !== 'ESRCH') throw e
  }
}
