import type { FileHandle } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import { maxLogLineBytes } from './entry.ts'
import type { LogGap } from './gap.ts'
import { openGeneration } from './generations.ts'
import { findTear, headTimeMs, tearLookahead } from './tear.ts'

const pieceBytes = 1024 * 1024
/** At most some 50 MB a second, and the event loop is free in between. */
const pauseMs = 20
const newline = 0x0a

/** What a full disk cut off in the files of one log, found once for each stretch of them. */
export class TearSearch {
  readonly #path: string
  readonly #clock: Clock
  readonly #onGap: (gap: LogGap) => void
  readonly #searched = new Map<number, number>()

  constructor(path: string, clock: Clock, onGap: (gap: LogGap) => void) {
    this.#path = path
    this.#clock = clock
    this.#onGap = onGap
  }

  /** `isOver`: nothing more is written into the file, so that half a record at its end is all there will be of it. */
  async search(inode: number, isOver: boolean, signal: AbortSignal): Promise<void> {
    const opened = await openGeneration(this.#path, (list) => list.find((generation) => generation.inode === inode))
    if (opened === undefined) return
    // One for all pieces: new memory for each would cost more in collections than the search itself.
    const memory = Buffer.allocUnsafe(maxLogLineBytes + pieceBytes)
    try {
      let from = this.#searched.get(inode) ?? 0
      for (;;) {
        const next = await this.#piece(opened.file, memory, from, isOver)
        if (next === from) break
        from = next
        this.#searched.set(inode, from)
        await this.#clock.sleep(pauseMs, signal)
      }
    } finally {
      await opened.file.close()
    }
    if (isOver) this.#searched.delete(inode)
  }

  /** Looks at what stands from `from` on; answers how far is searched now. */
  async #piece(file: FileHandle, memory: Buffer, from: number, isOver: boolean): Promise<number> {
    const start = Math.max(0, from - maxLogLineBytes)
    const buffer = memory.subarray(0, from - start + pieceBytes)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start)
    const bytes = buffer.subarray(0, bytesRead)
    const isLast = bytesRead < buffer.length
    for (let at = findTear(bytes, start, from - start); at > 0; at = findTear(bytes, start, at + 1)) {
      this.#onGap({ cause: 'disk_full', fromMs: timeBefore(bytes, at), toMs: headTimeMs(bytes, at) ?? 0, torn: true })
    }
    if (isLast && isOver && bytesRead > 0 && bytes[bytesRead - 1] !== newline)
      this.#onGap({ cause: 'disk_full', fromMs: timeBefore(bytes, bytesRead), toMs: 0, torn: true })
    return isLast ? from : start + bytesRead - tearLookahead
  }
}

/** Of the record that was cut off at `at`, or of the one before where it was cut in its head. */
function timeBefore(bytes: Buffer, at: number): number {
  for (let end = at; end > 0; ) {
    const start = bytes.lastIndexOf(newline, end - 1) + 1
    const ms = headTimeMs(bytes.subarray(0, at), start)
    if (ms !== undefined) return ms
    end = start - 1
  }
  return 0
}
