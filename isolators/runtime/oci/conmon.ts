import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, type FSWatcher, openSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { errnoOf, Fault } from '../../../base/fault.ts'
import type { LaunchRequest } from '../runtime.ts'
import { readProcess } from './process-table.ts'

interface ConmonPlaces {
  readonly program: string
  readonly shim: string
  readonly exitDir: string
}

/** Puts conmon into its own cgroup before it forks; absent where conmon may stay beside the agent. */
export type PlaceMonitor = (pid: number) => Promise<void>

/**
 * Starts conmon over the runtime and resolves with the container's first pid, or with the runtime's words where it failed.
 * conmon owns stdio, log and exit code from then on. It tells the pid as one JSON line on its sync descriptor, which is a file:
 * over a pipe whose reader has died it would end itself, and leave the container without a monitor. It blocks before it forks
 * until a byte comes on the start pipe (conmon 2.1 sources: `_OCI_SYNCPIPE`, `write_sync_fd`, `_OCI_STARTPIPE`): its own start-up
 * runs while the bundle is still in the making. Rejects with what `ready` rejects with, once conmon has ended.
 */
export async function startConmon(
  places: ConmonPlaces,
  request: LaunchRequest,
  steps: { readonly place: PlaceMonitor | undefined; readonly ready: Promise<unknown> },
  signal: AbortSignal
): Promise<{ readonly pid: number } | { readonly message: string }> {
  const answerPath = join(request.bundleDir, 'answer')
  const answerFile = openSync(answerPath, 'w', 0o600)
  const child = spawn(places.program, conmonArguments(places, request), {
    cwd: request.bundleDir,
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', answerFile, 'pipe'],
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      _OCI_SYNCPIPE: '3',
      _OCI_STARTPIPE: '4'
    }
  })
  closeSync(answerFile)
  const stop = (): void => endGroup(child)
  signal.addEventListener('abort', stop, { once: true })
  const startPipe = child.stdio[4] as Writable
  startPipe.on('error', () => undefined) // conmon has ended already: its answer tells why
  try {
    const line = firstLine(child, answerPath, join(request.bundleDir, 'conmon.pid'))
    const placed = child.pid === undefined ? undefined : steps.place?.(child.pid).catch(unlessEnded)
    await Promise.race([Promise.all([steps.ready, placed]), line])
    await Promise.all([steps.ready, placed])
    startPipe.end('x')
    const answer = parseAnswer(await line)
    signal.throwIfAborted()
    return answer
  } catch (e) {
    stop()
    throw e
  } finally {
    signal.removeEventListener('abort', stop)
    child.unref()
    // A pipe to whom it never came would keep the agent from ending.
    startPipe.destroy()
  }
}

/** A process that has ended cannot be put anywhere: its answer tells why it has. */
function unlessEnded(cause: unknown): void {
  if (errnoOf(cause) !== 'ESRCH') throw cause
}

function conmonArguments(places: ConmonPlaces, request: LaunchRequest): string[] {
  const bundle = request.bundleDir
  return [
    ...['--api-version', '1', '-c', request.containerId, '-u', request.containerId, '-r', places.shim, '-b', bundle],
    ...['-p', join(bundle, 'pid'), '--conmon-pidfile', join(bundle, 'conmon.pid'), '--exit-dir', places.exitDir],
    ...['--socket-dir-path', bundle, '-l', `k8s-file:${request.logPath}`],
    ...['--log-size-max', String(request.logMaxBytes), '--no-sync-log'],
    ...(request.terminal ? ['-t'] : []),
    ...(request.openStdin ? ['-i'] : []),
    // A terminal outlives who looks at it; a pipe's end is the end of the input.
    ...(request.openStdin && request.terminal ? ['--leave-stdin-open'] : [])
  ]
}

const lookMs = 250
const looksMost = 4

/**
 * The first line of the answer; empty where conmon ended without one, which only a look at its process can tell. A look that
 * fails is repeated: the program may run by now, and its exit code would be lost with the monitor.
 */
function firstLine(child: ChildProcess, answerPath: string, pidPath: string): Promise<string> {
  let watcher: FSWatcher | undefined
  let timer: NodeJS.Timeout | undefined
  let failures = 0
  let isOver = false
  return new Promise<string>((resolve, reject) => {
    const look = (): void => {
      const text = readFileSync(answerPath, 'utf8')
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')))
    }
    const orEnd = (): void => {
      const isAlive = existsSync(pidPath) && readProcess(Number(readFileSync(pidPath, 'utf8'))) !== undefined
      look()
      if (!isAlive) resolve('')
    }
    const safely = (act: () => void): void => {
      try {
        act()
      } catch (e) {
        failures += 1
        if (failures === looksMost) reject(e as Error)
      }
    }
    watcher = watch(answerPath, () => safely(look)).on('error', reject)
    // conmon forks, writes the pid of the one that stays, and ends.
    child.once('exit', (code) => {
      if (isOver) return
      if (code === 0) {
        timer = setInterval(() => safely(orEnd), lookMs)
        return
      }
      safely(look)
      resolve('')
    })
    child.once('error', (cause) => {
      reject(
        new Fault(
          'unavailable',
          `conmon could not be started: ${cause.message}; install it with apt-get install conmon`,
          {},
          cause
        )
      )
    })
  }).finally(() => {
    isOver = true
    watcher?.close()
    clearInterval(timer)
  })
}

function parseAnswer(line: string): { readonly pid: number } | { readonly message: string } {
  if (line.trim() === '') return { message: 'conmon ended without a word' }
  const answer = JSON.parse(line) as { readonly data?: unknown; readonly message?: unknown }
  if (typeof answer.data === 'number' && answer.data > 0) return { pid: answer.data }
  return { message: typeof answer.message === 'string' ? answer.message : line }
}

function endGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group has ended by itself.
  }
}
