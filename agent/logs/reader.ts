import { type FSWatcher, watch } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type LogEntry, LogParser } from './entry.ts'
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
}

export interface LogChunk {
  readonly stream: LogEntry['stream']
  /** When the first of its bytes were written. */
  readonly atMs: number
  readonly data: Uint8Array
  /** Output before it had been rotated away before it was read. */
  readonly skipped: boolean
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
      const over = !request.follow || ended.aborted
      const chunks = await reading.next()
      signal.throwIfAborted()
      if (chunks !== undefined) {
        yield* chunks
        continue
      }
      if (over) return
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

  constructor(request: LogRequest) {
    this.#request = request
    this.#sinceMs = request.sinceMs ?? 0
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
      this.#previous = await openGeneration(path, (list) => olderThan(list, opened.inode))
      return
    }
  }

  async #block({ file }: OpenGeneration): Promise<Buffer | undefined> {
    const bytes = Math.min(blockBytes, this.#remaining)
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
    for (const entry of this.#parser.push(block)) {
      if (!this.#isAsked(entry)) continue
      if (run[0] !== undefined && run[0].stream !== entry.stream) {
        chunks.push(this.#chunk(run))
        run = []
      }
      run.push(entry)
    }
    if (run.length > 0) chunks.push(this.#chunk(run))
    return chunks
  }

  #isAsked(entry: LogEntry): boolean {
    if (this.#request.stream !== undefined && entry.stream !== this.#request.stream) return false
    if (entry.atMs < this.#sinceMs) return false
    this.#sinceMs = 0 // times only grow, but for a clock that was set: whatever follows belongs to it
    return true
  }

  #chunk(run: readonly LogEntry[]): LogChunk {
    const skipped = this.#skipped
    this.#skipped = false
    const first = run[0]
    return {
      stream: first?.stream ?? 'stdout',
      atMs: first?.atMs ?? 0,
      data: run.length === 1 && first !== undefined ? first.data : Buffer.concat(run.map((entry) => entry.data)),
      skipped
    }
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
