import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { errnoOf, Fault } from '../../../base/fault.ts'
import type { LaunchRequest } from '../runtime.ts'

interface ConmonPlaces {
  readonly program: string
  readonly shim: string
  readonly exitDir: string
}

/** Puts conmon into its own cgroup before it forks; absent where conmon may stay beside the agent. */
export type PlaceMonitor = (pid: number) => Promise<void>

/**
 * Starts conmon over the runtime and resolves with the container's first pid, or with the runtime's words where it failed.
 * conmon owns stdio, log and exit code from then on. It tells the pid as one JSON line on the sync pipe, and blocks before it
 * forks until a byte comes on the start pipe (conmon 2.1 sources: `_OCI_SYNCPIPE`, `_OCI_STARTPIPE`): its own start-up runs
 * while the bundle is still in the making. Rejects with what `ready` rejects with, once conmon has ended.
 */
export async function startConmon(
  places: ConmonPlaces,
  request: LaunchRequest,
  steps: { readonly place: PlaceMonitor | undefined; readonly ready: Promise<unknown> },
  signal: AbortSignal
): Promise<{ readonly pid: number } | { readonly message: string }> {
  const child = spawn(places.program, conmonArguments(places, request), {
    cwd: request.bundleDir,
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      _OCI_SYNCPIPE: '3',
      _OCI_STARTPIPE: '4'
    }
  })
  const stop = (): void => endGroup(child)
  signal.addEventListener('abort', stop, { once: true })
  const startPipe = child.stdio[4] as Writable
  startPipe.on('error', () => undefined) // conmon has ended already: the sync pipe tells why
  try {
    const line = firstLine(child)
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
    // conmon holds its end as long as it lives: ours would keep the agent from ending, and cost a descriptor a container.
    child.stdio[3]?.destroy()
  }
}

/** A process that has ended cannot be put anywhere: the sync pipe tells why it has. */
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

function firstLine(child: ChildProcess): Promise<string> {
  const pipe = child.stdio[3] as Readable
  return new Promise((resolve, reject) => {
    let text = ''
    pipe.setEncoding('utf8')
    pipe.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')))
    })
    pipe.once('end', () => resolve(text))
    pipe.once('error', reject)
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
