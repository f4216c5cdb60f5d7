import { type FSWatcher, statSync, watch } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type LogEntry, LogParser } from './entry.ts'
import type { LogGap } from './gap.ts'
import { gapsName, readGaps } from './gap-file.ts'
import { type Generation, listGenerations, type OpenGeneration, openGeneration } from './generations.ts'
import { findTail, TailCount } from './tail.ts'

export interface LogRequest {
  /** The newest file; the older ones are beside it. */
  readonly path: string
  readonly follow: boolean
  /** Begin with this many lines of what is there; all of it where left out. */
  readonly tailLines?: number | undefined
  readonly stream?: LogEntry['stream'] | undefined
  readonly sinceMs?: number | undefined
  /** Nothing that was written later; a follower ends there. */
  readonly untilMs?: number | undefined
}

export interface LogChunk {
  readonly stream: LogEntry['stream']
  /** When the first of its bytes were written. */
  readonly atMs: number
  /** May be empty behind a gap that nothing follows. */
  readonly data: Uint8Array
  /** What was lost just before it. */
  readonly gaps: readonly LogGap[]
}

const blockBytes = 128 * 1024
/** Only for what the kernel's notification misses. */
const recheckMs = 1_000

/**
 * The output of a task as it was written, byte for byte, through rotations that happen meanwhile. Without `follow` it ends with
 * what was there at the start; with it once `ended` has aborted (the task is over, and so is the writer of the log) and all is read.
 * Memory stays at a block, whatever the size of the log. Rejects with the signal's reason when that aborts.
 */
export async function* readLog(request: LogRequest, ended: AbortSignal, signal: AbortSignal): AsyncGenerator<LogChunk> {
  signal.throwIfAborted()
  const reading = new Reading(request)
  let arrival: Arrival | undefined
  try {
    await reading.begin()
    for (;;) {
      const over = !request.follow || ended.aborted || reading.isPast
      const chunks = await reading.next()
      signal.throwIfAborted()
      if (chunks !== undefined) {
        yield* chunks
        continue
      }
      if (over) {
        const rest = reading.lastGaps(ended.aborted)
        if (rest !== undefined) yield rest
        return
      }
      if (arrival === undefined)
        arrival = new Arrival(request.path) // and look once more, now that nothing is missed
      else {
        await arrival.wait(ended, signal)
        arrival.close()
        arrival = undefined
      }
      signal.throwIfAborted()
    }
  } finally {
    arrival?.close()
    await reading.end()
  }
}

class Reading {
  readonly #request: LogRequest
  readonly #parser = new LogParser()
  #current: OpenGeneration | undefined
  /** Kept open so that its inode cannot be given to another file: it tells whether the current one was rotated out or replaced. */
  #previous: OpenGeneration | undefined
  #position = 0
  #remaining = Number.POSITIVE_INFINITY
  #skipped = false
  #sinceMs: number
  #lastMs = 0
  #passedUntil = false
  readonly #gaps: KnownGaps

  constructor(request: LogRequest) {
    this.#request = request
    this.#sinceMs = request.sinceMs ?? 0
    this.#gaps = new KnownGaps(request)
  }

  async begin(): Promise<void> {
    const { path, follow, tailLines, stream } = this.#request
    await access(dirname(path)).catch((e: unknown) => {
      throw new Fault('not-found', 'this task has no log: it was never launched here, or is forgotten', { path }, e)
    })
    if (tailLines === undefined) this.#current = await openGeneration(path, (list) => list.at(-1))
    else await this.#beginAt(new TailCount(tailLines, stream))
    if (follow) return
    let there = 0
    for (const { inode, bytes } of await listGenerations(path)) {
      there += bytes
      if (inode === this.#current?.inode) break
    }
    this.#remaining = there - this.#position
  }

  /** Chunks of one block; undefined where nothing more is there now. */
  async next(): Promise<LogChunk[] | undefined> {
    for (;;) {
      this.#current ??= await openGeneration(this.#request.path, (list) => list.at(-1))
      if (this.#passedUntil) return undefined
      if (this.#current === undefined || this.#remaining <= 0) return undefined
      const block = await this.#block(this.#current)
      if (block !== undefined) return this.#chunks(block)
      // The writer goes on in a renamed file until it has opened the next one: only then is the end of this one its end.
      const newer = await this.#newer(this.#current)
      if (newer === undefined) return undefined
      const last = await this.#block(this.#current)
      if (last !== undefined) {
        await newer.file.close()
        return this.#chunks(last)
      }
      await this.#moveTo(newer)
    }
  }

  /** What was asked for has been read, whatever else comes. */
  get isPast(): boolean {
    return this.#passedUntil
  }

  /** Lost with nothing behind it. Half a record at the end is on its way while its writer lives. */
  lastGaps(hasEnded: boolean): LogChunk | undefined {
    if (this.#passedUntil) return undefined
    if (hasEnded) this.#parser.endFile()
    const torn = this.#parser.pendingGap
    const gaps = [...this.#gaps.before(Number.POSITIVE_INFINITY), ...(torn === undefined ? [] : [torn])]
    return gaps.length === 0 ? undefined : { stream: 'stdout', atMs: this.#lastMs, data: new Uint8Array(), gaps }
  }

  async end(): Promise<void> {
    await this.#current?.file.close()
    await this.#previous?.file.close()
  }

  /** Finds the file, from the newest back, in which the tail begins, and its offset there. */
  async #beginAt(count: TailCount): Promise<void> {
    const { path } = this.#request
    let inode: number | undefined
    for (;;) {
      const opened = await openGeneration(path, (list) => olderThan(list, inode))
      if (opened === undefined) return
      await this.#current?.file.close()
      this.#current = opened
      inode = opened.inode
      const found = await findTail(opened.file, count)
      if (found === undefined) continue
      this.#position = found
      this.#parser.startAt(found)
      this.#previous = await openGeneration(path, (list) => olderThan(list, opened.inode))
      return
    }
  }

  async #block({ file }: OpenGeneration): Promise<Buffer | undefined> {
    const bytes = Math.min(blockBytes, this.#remaining)
    this.#gaps.refresh()
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafeSlow(bytes), 0, bytes, this.#position)
    if (bytesRead === 0) return undefined
    this.#position += bytesRead
    this.#remaining -= bytesRead
    return buffer.subarray(0, bytesRead)
  }

  async #newer(current: OpenGeneration): Promise<OpenGeneration | undefined> {
    let lost = false
    const opened = await openGeneration(this.#request.path, (list) => {
      const at = list.findIndex(({ inode }) => inode === current.inode)
      lost = at < 0
      if (at >= 0) return list[at - 1]
      // Not there: either it and all before it were rotated out, or the writer put a new file in its place.
      const previous = list.findIndex(({ inode }) => inode === this.#previous?.inode)
      return previous < 0 ? list.at(-1) : list[previous - 1]
    })
    if (opened !== undefined && lost) this.#skipped = true
    return opened
  }

  async #moveTo(newer: OpenGeneration): Promise<void> {
    this.#parser.endFile()
    await this.#previous?.file.close()
    this.#previous = this.#current
    this.#current = newer
    this.#position = 0
  }

  #chunks(block: Buffer): LogChunk[] {
    const chunks: LogChunk[] = []
    let run: LogEntry[] = []
    let gaps: LogGap[] = []
    const close = (): void => {
      const [first] = run
      if (first !== undefined) chunks.push(chunkOf(first, run, gaps))
      run = []
      gaps = []
    }
    for (const entry of this.#parser.push(block)) {
      if (!this.#isAsked(entry)) continue
      const lost = this.#lostBefore(entry)
      if (lost.length > 0 || (run[0] !== undefined && run[0].stream !== entry.stream)) close()
      gaps.push(...lost)
      run.push(entry)
      this.#lastMs = entry.atMs
    }
    close()
    return chunks
  }

  #isAsked(entry: LogEntry): boolean {
    const { stream, untilMs } = this.#request
    if (untilMs !== undefined && entry.atMs > untilMs) this.#passedUntil = true
    if (this.#passedUntil || entry.atMs < this.#sinceMs) return false
    this.#sinceMs = 0 // times only grow, but for a clock that was set: whatever follows belongs to it
    return stream === undefined || entry.stream === stream
  }

  #lostBefore(entry: LogEntry): LogGap[] {
    const gaps = [...this.#gaps.before(entry.atMs), ...(entry.gap === undefined ? [] : [entry.gap])]
    if (this.#skipped) gaps.push({ cause: 'rotated_away', fromMs: this.#lastMs, toMs: entry.atMs })
    this.#skipped = false
    return gaps
  }
}

function chunkOf(first: LogEntry, run: readonly LogEntry[], gaps: readonly LogGap[]): LogChunk {
  const data = run.length === 1 ? first.data : Buffer.concat(run.map((entry) => entry.data))
  return { stream: first.stream, atMs: first.atMs, data, gaps }
}

/** Gaps that the log itself does not show, told where their time comes. A torn record is seen by the parser. */
class KnownGaps {
  readonly #path: string
  readonly #isAsked: (gap: LogGap) => boolean
  #fileMs = 0
  #known = 0
  #waiting: LogGap[] = []

  constructor({ path, sinceMs = 0, untilMs = Number.POSITIVE_INFINITY }: LogRequest) {
    this.#path = gapsName(path)
    this.#isAsked = ({ torn, fromMs, toMs }) => torn !== true && (toMs === 0 || toMs >= sinceMs) && fromMs <= untilMs
  }

  refresh(): void {
    const facts = statSync(this.#path, { throwIfNoEntry: false })
    if (facts === undefined || facts.mtimeMs === this.#fileMs) return
    this.#fileMs = facts.mtimeMs
    const gaps = readGaps(this.#path)
    this.#waiting.push(...gaps.slice(this.#known).filter(this.#isAsked))
    this.#known = gaps.length
  }

  /** Those that are over at `atMs`, each once. */
  before(atMs: number): LogGap[] {
    if (this.#waiting.length === 0) return []
    const isDue = ({ fromMs, toMs }: LogGap): boolean => (toMs === 0 ? fromMs < atMs : toMs <= atMs)
    const due = this.#waiting.filter(isDue)
    this.#waiting = this.#waiting.filter((gap) => !isDue(gap))
    return due
  }
}

function olderThan(list: readonly Generation[], inode: number | undefined): Generation | undefined {
  if (inode === undefined) return list[0]
  const at = list.findIndex((generation) => generation.inode === inode)
  return at < 0 ? undefined : list[at + 1]
}

/** Tells that something happened to the files of a log since it was made. */
class Arrival {
  readonly #happened: Promise<void>
  #watcher: FSWatcher | undefined

  constructor(path: string) {
    const name = basename(path)
    this.#happened = new Promise((resolve) => {
      this.#watcher = watchFolder(dirname(path), (changed) => {
        if (changed === null || changed.startsWith(name)) resolve()
      })
    })
  }

  wait(ended: AbortSignal, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        ended.removeEventListener('abort', done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, recheckMs)
      ended.addEventListener('abort', done)
      signal.addEventListener('abort', done)
      void this.#happened.then(done)
      if (ended.aborted || signal.aborted) done()
    })
  }

  close(): void {
    this.#watcher?.close()
  }
}

function watchFolder(path: string, changed: (name: string | null) => void): FSWatcher | undefined {
  try {
    return watch(path, { persistent: false }, (_, name) => changed(name)).on('error', () => undefined)
  } catch {
    return undefined // the folder has gone, or the host has no watch left: the recheck finds what comes
  }
}
