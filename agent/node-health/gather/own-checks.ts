import { spawn } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../../base/fault.ts'
import { notEntered, type ProgramCgroup } from '../../../isolators/cgroup2/program-cgroup.ts'
import { type OwnCheckEnd, readOwnCheck } from '../own-check-answer.ts'
import type { Check } from '../verdict.ts'
import { CheckCgroups, type CheckPlace, checkLimits } from './check-cgroups.ts'

const mostChecks = 64
const atOnce = 8
/** No check is begun later than this. */
const allTogetherMs = 30_000
const mostOutputBytes = 4_096
const lastWordsMs = 500

interface Config {
  readonly directory: string
  readonly timeoutMs: number
  readonly place: CheckPlace
}

/**
 * Runs every executable of the folder, eight at a time, each in a cgroup of its own with little memory and few processes, which
 * is killed as a whole when it ends, at the deadline, or when the signal aborts: a check that hangs or goes wild holds up
 * nobody. They run as root, so a file that somebody else could have written is not run.
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
  const cgroups = new CheckCgroups(config.place)
  await cgroups.clear()
  const untilMs = performance.now() + allTogetherMs
  const noTime = { kind: 'not-run', why: `no time was left: the checks before it took ${allTogetherMs / 1_000} s` } as const
  const lane = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const end = performance.now() < untilMs ? await runOne(join(config.directory, name), config, cgroups, signal) : noTime
      if (end !== undefined) rows.set(name, readOwnCheck(name, end))
    }
  }
  try {
    await Promise.all(Array.from({ length: atOnce }, lane))
  } finally {
    await cgroups.close()
  }
  const left = wanted.slice(mostChecks).map((name) => readOwnCheck(name, { kind: 'not-run', why: `only ${mostChecks} are run` }))
  return [...wanted.flatMap((name) => rows.get(name) ?? []), ...left]
}

/** Undefined for what is no executable file. */
async function runOne(
  path: string,
  config: Config,
  cgroups: CheckCgroups,
  signal: AbortSignal
): Promise<OwnCheckEnd | undefined> {
  signal.throwIfAborted()
  const refusal = await whyNot([config.directory, path])
  if (refusal === 'no-program') return undefined
  if (refusal !== undefined) return { kind: 'not-run', why: refusal }
  let cgroup: ProgramCgroup
  try {
    cgroup = await cgroups.make()
  } catch (e) {
    if (errnoOf(e) === undefined) throw e
    return { kind: 'not-run', why: `not run: no cgroup can be made for it: ${errnoOf(e)}` }
  }
  try {
    return outOfMemory(await runGroup(path, cgroup, config.timeoutMs, signal), cgroup)
  } finally {
    await cgroup.remove()
  }
}

const limitMiB = checkLimits.memoryBytes / 1024 ** 2

/** Whichever of its processes the kernel chose. */
function outOfMemory(end: OwnCheckEnd, cgroup: ProgramCgroup): OwnCheckEnd {
  const isStrange = end.kind === 'signaled' || (end.kind === 'exited' && end.code > 3)
  return isStrange && cgroup.oomKills() > 0 ? { kind: 'signaled', signal: `SIGKILL: it needs more than ${limitMiB} MiB` } : end
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

/** The child, its end and its output; whatever it leaves in its cgroup is killed with it. */
async function runGroup(path: string, cgroup: ProgramCgroup, timeoutMs: number, signal: AbortSignal): Promise<OwnCheckEnd> {
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', HOME: '/' }
  const [program = '', ...words] = cgroup.enter([path])
  const child = spawn(program, words, { cwd: '/', env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const output: Buffer[] = []
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    if (bytes < mostOutputBytes) output.push(chunk.subarray(0, mostOutputBytes - bytes))
    bytes += chunk.length
  })
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const exited = new Promise<OwnCheckEnd>((resolve) => {
    child.once('error', (e) => resolve({ kind: 'not-run', why: `cannot be run: ${e.message}` }))
    child.once('exit', (code, name) => resolve(code === null ? { kind: 'signaled', signal: String(name) } : exitOf(code)))
  })
  const end = (await within(exited, timeoutMs, signal)) ?? ({ kind: 'timed-out', afterMs: timeoutMs } as const)
  cgroup.kill()
  // A process that waits in the kernel may hold the output open; what was written until now counts.
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

/** A shell stands before the program, and says of what it could not begin only this. */
function exitOf(code: number): OwnCheckEnd {
  const why = refusals[code as keyof typeof refusals]
  return why === undefined ? { kind: 'exited', code, output: Buffer.alloc(0) } : { kind: 'not-run', why: `cannot be run: ${why}` }
}

const refusals = {
  [notEntered]: 'it could not enter its cgroup',
  126: 'it cannot be executed, or ended with exit code 126',
  127: 'its interpreter is not there, or it ended with exit code 127'
} as const
