import { Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { TaskRow, TaskStatus } from '../../proto/gen/messages.ts'
import { frameworkId, taskId } from '../../proto/ids.ts'
import { channels, encodeStreamFrame, encodeStreamJson, streamContentType } from '../../proto/stream-frame.ts'
import type { LocalResponse } from '../ports.ts'
import { errorBody } from './responses.ts'
import type { RouteCall } from './router.ts'

/** A task, alive or dead, as the local API needs to know it. */
export interface LocalTask {
  readonly frameworkId: string
  readonly taskId: string
  readonly containerId: string
  readonly attempt: number
  /** Of the container: `proto/container-state.ts`. */
  readonly state: string
  readonly logPath: string
  readonly sandboxDir: string
  readonly bundleDir: string
  readonly terminal: boolean
  readonly openStdin: boolean
  /** The newest status; the final one as soon as `ended` is aborted. */
  readonly latest: () => TaskStatus | null
  /** Aborts when the launch is over: there is a log, or there never will be one. */
  readonly launched: AbortSignal
  /** Aborts when the container has ended and its log is complete. */
  readonly ended: AbortSignal
}

/** One that has a row in the ledger, and so limits. */
export interface LimitedTask extends LocalTask {
  readonly row: TaskRow
}

export interface LocalTasks {
  list(): readonly LimitedTask[]
  /** That attempt; without one the newest that has begun. */
  find(frameworkId: string, taskId: string, attempt?: number): LimitedTask | undefined
  /** Ends every container; resolves when the last one is removed. */
  stopAll(signal: AbortSignal): Promise<void>
}

export interface LogRequest {
  readonly path: string
  readonly follow: boolean
  readonly tailLines?: number
  readonly stream?: 'stdout' | 'stderr'
  readonly sinceMs?: number
  readonly untilMs?: number
}

export interface LogPiece {
  readonly stream: 'stdout' | 'stderr'
  readonly atMs: number
  readonly data: Uint8Array
  /** What was lost just before it; shown as it is. */
  readonly gaps?: readonly object[]
}

/** agent/logs/reader.ts; when following, it ends once `ended` is aborted and everything is read. */
export type LogSource = (request: LogRequest, ended: AbortSignal, signal: AbortSignal) => AsyncIterable<LogPiece>

/** Duplex streams into a container; `agent/local-api/task-streams.ts`. */
export interface TaskStreams {
  exec(task: LocalTask, body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<LocalResponse>
  attach(task: LocalTask, body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<LocalResponse>
}

export function taskOf(tasks: LocalTasks, call: RouteCall): LimitedTask {
  const framework = frameworkId(call.params['framework'] ?? '')
  const id = taskId(call.params['task'] ?? '')
  const attempt = count(call.query, 'attempt')
  const task = tasks.find(framework, id, attempt)
  if (task !== undefined) return task
  if (attempt !== undefined && tasks.find(framework, id) !== undefined) {
    throw new Fault('not-found', `attempt ${attempt} of task ${id} never was, or its log and files are removed already`)
  }
  throw new Fault('not-found', `this agent has no task ${id} of framework ${framework}`, { frameworkId: framework, taskId: id })
}

export const taskRow = (task: LocalTask) => ({
  frameworkId: task.frameworkId,
  taskId: task.taskId,
  containerId: task.containerId,
  attempt: task.attempt,
  state: task.state,
  terminal: task.terminal,
  openStdin: task.openStdin,
  latest: task.latest()
})

/**
 * `?follow&tail=N&stream=stdout|stderr&sinceMs=N&untilMs=N&attempt=N`: stream frames, at the end `{status}` or `{error}`. Who follows and
 * names no attempt gets those that come after it too.
 */
export async function logRoute(
  parts: { readonly tasks: LocalTasks; readonly readLog: LogSource; readonly log: Log },
  task: LocalTask,
  call: RouteCall
): Promise<LocalResponse> {
  const request = logRequest(task.logPath, call.query)
  const pieces = parts.readLog(request, task.ended, call.signal)[Symbol.asyncIterator]()
  // A following reader has its head at once and waits for the launch; without follow the first piece may still turn into a
  // plain HTTP error.
  const first = request.follow
    ? undefined
    : await pieces.next().catch((e: unknown) => {
        throw whyNoLog(task, e)
      })
  return {
    status: 200,
    contentType: streamContentType,
    body: following(parts, task, logFrames(parts.log, task, pieces, first, request.follow, call.signal), request, call)
  }
}

/** One attempt's frames after the other's; the end is told once. */
async function* following(
  parts: { readonly tasks: LocalTasks; readonly readLog: LogSource; readonly log: Log },
  task: LocalTask,
  first: LogFrames,
  request: LogRequest,
  call: RouteCall
): AsyncGenerator<Uint8Array> {
  const oneOnly = !request.follow || call.query.has('attempt')
  let frames = first
  for (let at = task; ; ) {
    const end = yield* frames
    const next = oneOnly || end.failed || !at.latest()?.willRestart ? undefined : nextAttempt(parts.tasks, at)
    if (next === undefined) {
      yield end.frame
      return
    }
    const { tailLines: _, ...rest } = request
    const pieces = parts.readLog({ ...rest, path: next.logPath }, next.ended, call.signal)[Symbol.asyncIterator]()
    frames = logFrames(parts.log, next, pieces, undefined, true, call.signal)
    at = next
  }
}

const nextAttempt = (tasks: LocalTasks, { frameworkId, taskId, attempt }: LocalTask): LocalTask | undefined =>
  tasks.find(frameworkId, taskId, attempt + 1)

/** What ended before it ran has no log, and its ending says why. */
function whyNoLog(task: LocalTask, e: unknown): unknown {
  const latest = task.latest()
  if (!isFault(e) || e.code !== 'not-found' || !task.ended.aborted || latest === null) return e
  const { state, reason, message } = latest
  const known = reason === 'unspecified_reason' ? '' : ` (${reason})`
  const said = `task ${task.taskId} has no log: it ended as ${state}${known}${message === '' ? '' : `: ${message}`}`
  return new Fault(e.code, said, { ...e.detail, state, reason }, e)
}

/** Ends with the frame that tells the end. */
type LogFrames = AsyncGenerator<Uint8Array, { readonly frame: Uint8Array; readonly failed: boolean }>

async function* logFrames(
  log: Log,
  task: LocalTask,
  pieces: AsyncIterator<LogPiece>,
  first: IteratorResult<LogPiece> | undefined,
  follow: boolean,
  signal: AbortSignal
): LogFrames {
  try {
    if (follow) await aborted(task.launched, signal)
    for (let next = first ?? (await pieces.next()); next.done !== true; next = await pieces.next()) {
      yield* framesOf(next.value)
    }
    return {
      frame: encodeStreamJson(channels.end, { status: follow && task.ended.aborted ? task.latest() : null }),
      failed: false
    }
  } catch (e) {
    if (!isFault(e)) throw e
    if (follow && task.ended.aborted && e.code === 'not-found') {
      // It ended before it ran, so there is nothing to read: its status says why.
      return { frame: encodeStreamJson(channels.end, { status: task.latest() }), failed: false }
    }
    log.warn({ containerId: task.containerId, code: e.code, fault: e.message }, 'local_api.log_failed')
    return { frame: encodeStreamJson(channels.end, errorBody(e)), failed: true }
  } finally {
    await pieces.return?.()
  }
}

function* framesOf({ stream, data, gaps = [] }: LogPiece): Generator<Uint8Array> {
  for (const gap of gaps) yield encodeStreamJson(channels.gap, gap)
  if (data.length > 0) yield encodeStreamFrame(channels[stream], data)
}

/** Resolves when the event has come; rejects with the signal's reason. */
export function aborted(event: AbortSignal, signal: AbortSignal): Promise<void> {
  if (event.aborted) return Promise.resolve()
  return new Promise((resolve, reject) => {
    event.addEventListener('abort', () => resolve(), { once: true, signal })
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

function logRequest(path: string, query: URLSearchParams): LogRequest {
  const tailLines = count(query, 'tail')
  const sinceMs = count(query, 'sinceMs')
  const untilMs = count(query, 'untilMs')
  const stream = query.get('stream')
  if (stream !== null && stream !== 'stdout' && stream !== 'stderr') {
    throw new Fault('invalid', 'stream is stdout or stderr; leave it out for both')
  }
  return {
    path,
    follow: flag(query, 'follow'),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(untilMs === undefined ? {} : { untilMs }),
    ...(stream === null ? {} : { stream })
  }
}

function flag(query: URLSearchParams, name: string): boolean {
  const text = query.get(name)
  if (text === null || text === 'false' || text === '0') return false
  if (text === '' || text === 'true' || text === '1') return true
  throw new Fault('invalid', `${name} is true or false`)
}

export function count(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw new Fault('invalid', `${name} is a whole number`)
  return number
}
