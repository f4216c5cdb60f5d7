import { recordHeadBytes, sealRecord } from '../../base/record-chain.ts'
import { encodeMessage, type Init } from '../../proto/codec.ts'
import type { LogEntry, LogRecord } from '../../proto/gen/messages.ts'
import { entryBytes, numberBytes, varintBytes, writeEntry, writeVarint } from './entry-bytes.ts'

/** Beyond this much memory is given back when a slice is empty again. */
const keptBytes = 256 * 1024

/** What a record tells beside its own kind: what was durable when it was written. */
interface Vouched {
  readonly acknowledgedIndex: number
  readonly syncedBytes: number
}

/** Records in a row, as they go to the disk in one write. Its memory is used again and again. */
export class RecordSlice {
  #bytes = Buffer.allocUnsafe(keptBytes)
  #used = 0

  get length(): number {
    return this.#used
  }

  /** Valid until the next call of anything else. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#used)
  }

  /** Returns the CRC of the record. */
  add(record: Init<LogRecord>, vouched: Vouched, previousCrc: number): number {
    const { entry } = record
    if (entry !== null && entry !== undefined) return this.#addEntry(entry as LogEntry, vouched, previousCrc)
    const body = encodeMessage('LogRecord', { ...record, ...vouched })
    const at = this.#take(recordHeadBytes + body.length)
    this.#bytes.set(body, at + recordHeadBytes)
    return sealRecord(this.#bytes, at, this.#used, previousCrc)
  }

  /** As `encodeMessage('LogRecord', { entry, ...vouched })` has it. */
  #addEntry(entry: LogEntry, { acknowledgedIndex, syncedBytes }: Vouched, previousCrc: number): number {
    const length = entryBytes(entry, entry.type)
    const numbers = numberBytes(acknowledgedIndex) + numberBytes(syncedBytes)
    const at = this.#take(recordHeadBytes + 1 + varintBytes(length) + length + numbers)
    const bytes = this.#bytes
    bytes[at + recordHeadBytes] = 0x0a
    let end = writeEntry(bytes, writeVarint(bytes, at + recordHeadBytes + 1, length), entry, entry.type)
    end = writeNumber(bytes, end, 0x28, acknowledgedIndex)
    writeNumber(bytes, end, 0x38, syncedBytes)
    return sealRecord(bytes, at, this.#used, previousCrc)
  }

  /** Forgets what is after `length`. */
  cutTo(length: number): void {
    this.#used = length
  }

  clear(): void {
    this.#used = 0
    if (this.#bytes.length > keptBytes) this.#bytes = Buffer.allocUnsafe(keptBytes)
  }

  #take(bytes: number): number {
    const at = this.#used
    this.#used += bytes
    if (this.#used > this.#bytes.length) {
      const more = Buffer.allocUnsafe(Math.max(this.#used, 2 * this.#bytes.length))
      more.set(this.#bytes.subarray(0, at))
      this.#bytes = more
    }
    return at
  }
}

function writeNumber(into: Buffer, at: number, tag: number, value: number): number {
  if (value === 0) return at
  into[at] = tag
  return writeVarint(into, at + 1, value)
}
