import type { FileHandle } from 'node:fs/promises'
import { type LogEntry, maxLogLineBytes, parseLogLine } from './entry.ts'

const blockBytes = 64 * 1024
const newline = 0x0a

/** Lines still to be found, counted from the end of the output; of one stream, or of both as they were written. */
export class TailCount {
  readonly #stream: LogEntry['stream'] | undefined
  #lines: number
  #first = true

  constructor(lines: number, stream: LogEntry['stream'] | undefined) {
    this.#lines = lines
    this.#stream = stream
  }

  /** Takes entries from the last one backwards; true where the entry ends a line that is one too many. */
  isBefore(entry: LogEntry): boolean {
    if (this.#stream !== undefined && entry.stream !== this.#stream) return false
    // A last line without its newline is a line too, of however many pieces.
    const counts = !entry.partial || this.#first
    this.#first = false
    if (!counts) return false
    if (this.#lines === 0) return true
    this.#lines -= 1
    return false
  }
}

/**
 * Where in the file the last lines begin, read backwards in blocks; undefined where the whole file belongs to them and the
 * search goes on in the file before.
 */
export async function findTail(file: FileHandle, count: TailCount): Promise<number | undefined> {
  let position = (await file.stat()).size
  let later: Buffer = Buffer.alloc(0)
  while (position > 0) {
    const bytes = Math.min(blockBytes, position)
    position -= bytes
    const block = Buffer.alloc(bytes)
    await file.read(block, 0, bytes, position)
    const text = later.length === 0 ? block : Buffer.concat([block, later])
    const first = position === 0 ? 0 : text.indexOf(newline) + 1
    if (first === 0 && position > 0) {
      later = text.length > maxLogLineBytes ? Buffer.alloc(0) : text
      continue
    }
    const found = scanBack(text, first, count)
    if (found !== undefined) return position + found
    later = text.subarray(0, first)
  }
  return undefined
}

/** Offset just after the line that is one too many. What stands behind the last newline is no record yet. */
function scanBack(text: Buffer, first: number, count: TailCount): number | undefined {
  let end = text.lastIndexOf(newline) + 1
  while (end > first) {
    const start = end < 2 ? 0 : text.lastIndexOf(newline, end - 2) + 1
    const entry = parseLogLine(text.subarray(Math.max(start, first), end))
    if (entry !== undefined && count.isBefore(entry)) return end
    end = start
  }
  return undefined
}
