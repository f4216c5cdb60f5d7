import { closeSync, fstatSync, ftruncateSync, openSync, readSync, renameSync, statSync, writeSync } from 'node:fs'
import { cursorOf, type LogCursor } from './log-records.ts'

const tailBytes = 256 * 1024

/**
 * The file that conmon would write: the same name, the same records, and the same step to a new file, at the word of
 * agent/logs/rotated-files.ts: what lies ready as `log.tmp` becomes `log`.
 */
export class LogFile {
  readonly #path: string
  #file: number | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Half a record, of a writer that died, goes: Docker gives it again. */
  open(): LogCursor {
    this.#file ??= openSync(this.#path, 'a+', 0o600)
    const { size, ino } = fstatSync(this.#file)
    const own = readTail(this.#file, size)
    const end = own.lastIndexOf(0x0a) + 1
    if (end < own.length) ftruncateSync(this.#file, size - (own.length - end))
    const older = end < tailBytes / 2 ? olderTail(this.#path, ino) : Buffer.alloc(0)
    return cursorOf(Buffer.concat([older, own.subarray(0, end)]))
  }

  /** All of it or nothing: what a full disk cut is taken back. */
  append(bytes: Buffer): void {
    const file = this.#file ?? openSync(this.#path, 'a+', 0o600)
    this.#file = file
    const { size } = fstatSync(file)
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
    } catch (e) {
      ftruncateSync(file, size)
      throw e
    }
  }

  next(): void {
    const draft = openSync(`${this.#path}.tmp`, 'w', 0o600)
    closeSync(draft)
    renameSync(`${this.#path}.tmp`, this.#path)
    this.close()
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}

function readTail(file: number, size: number): Buffer {
  const tail = Buffer.alloc(Math.min(size, tailBytes))
  for (let at = 0; at < tail.length; ) {
    const bytes = readSync(file, tail, at, tail.length - at, size - tail.length + at)
    if (bytes === 0) return tail.subarray(0, at)
    at += bytes
  }
  return tail
}

/** Of the file before this one: still `log.held`, or `log.1` already. */
function olderTail(path: string, current: number): Buffer {
  for (const name of [`${path}.held`, `${path}.1`]) {
    const facts = statSync(name, { throwIfNoEntry: false })
    if (facts === undefined || facts.ino === current || facts.size === 0) continue
    const file = openSync(name, 'r')
    try {
      const tail = readTail(file, facts.size)
      return tail.subarray(0, tail.lastIndexOf(0x0a) + 1)
    } finally {
      closeSync(file)
    }
  }
  return Buffer.alloc(0)
}
