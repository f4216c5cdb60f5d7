import type { LogGap } from './gap.ts'
import { findTear } from './tear.ts'

/**
 * conmon's k8s-file format: `TIME stdout|stderr F|P TEXT\n`, the text being any bytes but a newline. `F` ends a line of the
 * output, `P` is a piece of one without its newline: a long line, or a last one that was never ended.
 */
export interface LogEntry {
  readonly stream: 'stdout' | 'stderr'
  readonly atMs: number
  readonly partial: boolean
  /** Exactly the bytes that the program wrote: those of all entries of a stream, one after the other, are its output. */
  readonly data: Uint8Array
  /** Output was lost just before it. */
  readonly gap?: LogGap
}

/** conmon reads 8 KiB at a time, so no record of its own is longer than that and its head. */
export const maxLogLineBytes = 64 * 1024

const newline = 0x0a
const space = 0x20
const afterTime = 'stdout F '.length
const longestTime = 48

/** Takes a log file in pieces of any size, one file after the other. What is no record of conmon's is left out and counted. */
export class LogParser {
  #held: Buffer = Buffer.alloc(0)
  /** Of `#held` in its file: what a full disk cut off is known by where it ends. */
  #offset = 0
  #skipping = false
  #lastMs = 0
  #lost: LogGap['cause'] | undefined
  damagedLines = 0

  /** The data of the entries points into `bytes`, which must not be changed afterwards. */
  push(bytes: Uint8Array): LogEntry[] {
    const entries: LogEntry[] = []
    let rest = this.#held.length === 0 ? asBuffer(bytes) : Buffer.concat([this.#held, bytes])
    let from = this.#held.length
    for (;;) {
      const end = rest.indexOf(newline, from)
      if (end < 0) break
      this.#line(rest.subarray(0, end + 1), entries)
      rest = rest.subarray(end + 1)
      this.#offset += end + 1
      from = 0
    }
    if (rest.length > maxLogLineBytes) {
      this.#skipping = true
      this.#offset += rest.length
      rest = Buffer.alloc(0)
    }
    this.#held = rest
    return entries
  }

  /** What comes next begins at this offset of its file. */
  startAt(offset: number): void {
    this.#offset = offset
  }

  /** The file is at its end: half a record that stands there, from a full disk, is given up. */
  endFile(): void {
    if (this.#held.length > 0 || this.#skipping) this.#damaged('disk_full')
    this.#held = Buffer.alloc(0)
    this.#skipping = false
    this.#offset = 0
  }

  /** What was lost since the last entry, where no later one can tell it. */
  get pendingGap(): LogGap | undefined {
    return this.#lost === undefined ? undefined : { cause: this.#lost, fromMs: this.#lastMs, toMs: 0 }
  }

  #line(line: Buffer, entries: LogEntry[]): void {
    let rest = line
    let at = this.#offset
    for (let torn = this.#tearOf(rest, at); torn > 0; torn = this.#tearOf(rest, at)) {
      const piece = parseRecord(rest.subarray(0, torn), true)
      if (piece !== undefined) this.#take(piece, entries)
      this.#damaged('disk_full')
      rest = rest.subarray(torn)
      at += torn
    }
    const whole = this.#skipping ? undefined : parseLogLine(rest)
    const entry = whole ?? (this.#skipping ? undefined : afterTornHead(rest))
    if (whole === undefined) this.#damaged('damaged')
    this.#skipping = false
    if (entry !== undefined) this.#take(entry, entries)
  }

  #tearOf(line: Buffer, at: number): number {
    return this.#skipping ? -1 : findTear(line, at)
  }

  #damaged(cause: LogGap['cause']): void {
    this.damagedLines += 1
    this.#lost ??= cause
  }

  #take(entry: LogEntry, entries: LogEntry[]): void {
    const gap = this.#lost === undefined ? undefined : { cause: this.#lost, fromMs: this.#lastMs, toMs: entry.atMs }
    this.#lost = undefined
    this.#lastMs = entry.atMs
    entries.push(gap === undefined ? entry : { ...entry, gap })
  }
}

/** The entry of one line with its newline, or undefined where the line is no record. */
export const parseLogLine = (line: Buffer): LogEntry | undefined => parseRecord(line, false)

/** A torn record has no newline, and its line was not ended there. */
function parseRecord(line: Buffer, torn: boolean): LogEntry | undefined {
  const at = line.indexOf(space) + 1
  const text = at + afterTime
  if (at <= 1 || at > longestTime || line.length < text + (torn ? 0 : 1)) return undefined
  const word = line.toString('latin1', at, text)
  const stream = word.startsWith('stdout ') ? 'stdout' : word.startsWith('stderr ') ? 'stderr' : undefined
  const tag = word.slice(7)
  const atMs = Date.parse(line.toString('latin1', 0, at - 1))
  if (stream === undefined || (tag !== 'F ' && tag !== 'P ') || Number.isNaN(atMs)) return undefined
  const partial = torn || tag === 'P '
  return { stream, atMs, partial, data: line.subarray(text, partial && !torn ? line.length - 1 : line.length) }
}

const headPattern = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d std(?:out|err) [FP] /

/** Where a full disk cut a record in its head, the first one that had room again stands behind the piece, in the same line. */
function afterTornHead(line: Buffer): LogEntry | undefined {
  const at = line.toString('latin1', 0, 2 * (longestTime + afterTime)).search(headPattern)
  return at < 0 ? undefined : parseLogLine(line.subarray(at))
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
