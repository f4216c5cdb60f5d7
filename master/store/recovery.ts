import { join } from 'node:path'
import { Fault, isFault } from '../../base/fault.ts'
import { type ChainedRecord, readRecord } from '../../base/record-chain.ts'
import { decodeMessage } from '../../proto/codec.ts'
import type { HardState, LogEntry, LogRecord, SegmentHead } from '../../proto/gen/messages.ts'
import type { Disk } from './disk.ts'
import { type LogIdentity, type SegmentInfo, segmentNumber, walFormat } from './segment.ts'
import { damageAt } from './torn-write.ts'

export interface RecoveredLog {
  /** Those with an index above what the caller holds already. */
  readonly entries: readonly LogEntry[]
  readonly firstIndex: number
  readonly lastIndex: number
  readonly lastTerm: number
  /** Term of the entry at `keepAfter`, 0 where the log does not have it. */
  readonly termBefore: number
  readonly hardState: HardState
  readonly segments: readonly SegmentInfo[]
  readonly tail: LogTail
}

/** Where the last segment goes on. */
export interface LogTail {
  readonly offset: number
  readonly crc: number
  readonly capacity: number
  /**
   * What must be written again, in place, before the log goes on: records that no finished fdatasync vouches for (after a
   * failed one the page cache may show what the disk does not hold), then zeros over the torn rest. None of it was acknowledged.
   */
  readonly rewriteAt: number
  readonly rewrite: Uint8Array
  /** Bytes of a torn write that were set aside. */
  readonly tornBytes: number
}

/**
 * Reads the whole log, oldest segment first; undefined where there is none. A bad record is a torn tail only in the
 * last segment, and where nothing after it was written once it was durable (`damageAt`). Anything else is `Fault('corrupt')` with file and offset,
 * and the log stays as it is: cutting an acknowledged record and then voting is how committed data is lost.
 */
export async function recoverLog(
  disk: Pick<Disk, 'list' | 'readAll'>,
  directory: string,
  identity: LogIdentity,
  keepAfter: number
): Promise<RecoveredLog | undefined> {
  const names = (await disk.list(directory)).filter((name) => segmentNumber(name) !== undefined)
  const reader = new LogReader(identity, keepAfter)
  for (const [i, name] of names.entries()) {
    const path = join(directory, name)
    reader.readSegment(path, segmentNumber(name) ?? 0, await disk.readAll(path), i === names.length - 1)
  }
  return reader.finish()
}

class LogReader {
  readonly #identity: LogIdentity
  readonly #keepAfter: number
  readonly #segments: SegmentInfo[] = []
  #entries: LogEntry[] = []
  #firstIndex = 0
  #lastIndex = 0
  #lastTerm = 0
  #termBefore = 0
  #acknowledged = 0
  #hardState: HardState = { term: 0, votedFor: '', commit: 0, vote: 0 }
  #crc = 0
  /** Ends of the entry records of the segment at hand, by index. */
  #ends: { readonly index: number; readonly end: number }[] = []
  #tail: LogTail | undefined

  constructor(identity: LogIdentity, keepAfter: number) {
    this.#identity = identity
    this.#keepAfter = keepAfter
  }

  readSegment(path: string, number: number, bytes: Buffer, isLast: boolean): void {
    const before = this.#segments.at(-1)
    if (before !== undefined && number !== before.number + 1) {
      throw corrupt(path, 0, `segment ${before.number + 1} is missing before it`)
    }
    const first = readRecord(bytes, 0, 0)
    if (first.kind !== 'record') throw corrupt(path, 0, 'it does not begin with a sound segment head')
    this.#takeHead(path, number, bytes.length, decodeRecord(path, first.record).head, before === undefined)
    this.#crc = first.record.crc
    this.#ends = []
    let highestIndex = 0
    let offset = first.record.end
    for (;;) {
      const read = readRecord(bytes, offset, this.#crc)
      if (read.kind !== 'record') {
        this.#endSegment(path, bytes, offset, read.kind === 'broken' ? read.why : undefined, isLast)
        break
      }
      this.#take(path, read.record)
      highestIndex = Math.max(highestIndex, this.#lastIndex)
      offset = read.record.end
      this.#crc = read.record.crc
    }
    this.#segments.push({ number, path, highestIndex: Math.max(highestIndex, before?.highestIndex ?? 0) })
    if (isLast) this.#tail = this.#makeTail(bytes, first.record.end, offset)
  }

  finish(): RecoveredLog | undefined {
    if (this.#tail === undefined) return undefined
    return {
      entries: this.#entries,
      firstIndex: this.#firstIndex,
      lastIndex: this.#lastIndex,
      lastTerm: this.#lastTerm,
      termBefore: this.#termBefore,
      hardState: this.#hardState,
      segments: this.#segments,
      tail: this.#tail
    }
  }

  #takeHead(path: string, number: number, size: number, head: SegmentHead | null, isFirst: boolean): void {
    if (head === null) throw corrupt(path, 0, 'its first record is no segment head')
    if (head.format !== walFormat) {
      throw new Fault('unsupported', `${path} has format ${head.format}; this build reads format ${walFormat}: upgrade it`)
    }
    const { clusterId, nodeId } = this.#identity
    if (head.clusterId !== clusterId || head.nodeId !== nodeId) {
      const owner = `cluster ${head.clusterId}, node ${head.nodeId}`
      throw new Fault('conflict', `${path} is the log of ${owner}, not of cluster ${clusterId}, node ${nodeId}`, { path })
    }
    if (head.segment !== number) throw corrupt(path, 0, `it says that it is segment ${head.segment}`)
    if (head.bytes !== size) throw corrupt(path, Math.min(size, head.bytes), `it has ${size} bytes instead of ${head.bytes}`)
    if (isFirst) {
      this.#firstIndex = head.firstIndex
      this.#lastIndex = head.firstIndex - 1
      return
    }
    if (head.previousCrc !== this.#crc) throw corrupt(path, 0, 'it does not continue the segment before it')
    if (head.firstIndex !== this.#lastIndex + 1)
      throw corrupt(path, 0, `it starts at ${head.firstIndex}, after ${this.#lastIndex}`)
  }

  #take(path: string, record: ChainedRecord): void {
    const { entry, hardState, truncate, head, acknowledgedIndex, reset } = decodeRecord(path, record)
    if (head !== null) throw corrupt(path, record.offset, 'a segment head stands in the middle')
    if (acknowledgedIndex > this.#lastIndex) {
      throw corrupt(path, record.offset, `entry ${acknowledgedIndex} was acknowledged and is not there`)
    }
    this.#acknowledged = Math.max(this.#acknowledged, acknowledgedIndex)
    if (hardState !== null) this.#hardState = hardState
    if (truncate !== null) this.#truncate(truncate.fromIndex)
    if (reset !== null) this.#reset(reset.afterIndex)
    if (entry !== null) this.#append(path, record, entry)
  }

  #append(path: string, record: ChainedRecord, entry: LogEntry): void {
    if (entry.index !== this.#lastIndex + 1 || entry.term < this.#lastTerm) {
      const seen = `entry ${entry.index} of term ${entry.term}`
      throw corrupt(path, record.offset, `${seen} cannot follow entry ${this.#lastIndex} of term ${this.#lastTerm}`)
    }
    this.#lastIndex = entry.index
    this.#lastTerm = entry.term
    // A copy: the data is a window onto the whole segment.
    if (entry.index === this.#keepAfter) this.#termBefore = entry.term
    if (entry.index > this.#keepAfter) this.#entries.push({ ...entry, data: new Uint8Array(entry.data) })
    this.#ends.push({ index: entry.index, end: record.end })
  }

  #truncate(fromIndex: number): void {
    this.#entries = this.#entries.filter((e) => e.index < fromIndex)
    this.#ends = this.#ends.filter((e) => e.index < fromIndex)
    this.#lastIndex = Math.min(this.#lastIndex, fromIndex - 1)
    this.#firstIndex = Math.min(this.#firstIndex, fromIndex)
    this.#acknowledged = Math.min(this.#acknowledged, fromIndex - 1)
    if (fromIndex <= this.#keepAfter) this.#termBefore = 0
    this.#lastTerm = this.#entries.at(-1)?.term ?? this.#termBefore
  }

  #reset(afterIndex: number): void {
    this.#truncate(1)
    this.#firstIndex = afterIndex + 1
    this.#lastIndex = afterIndex
  }

  #endSegment(path: string, bytes: Buffer, offset: number, why: string | undefined, isLast: boolean): void {
    if (!isLast) {
      // A stretch of zeros in the middle shows when the next segment does not continue what was read.
      if (why !== undefined) throw corrupt(path, offset, why)
      return
    }
    const proof = damageAt(bytes, { at: offset, crc: this.#crc, lastIndex: this.#lastIndex })
    if (proof >= 0) throw corrupt(path, offset, `${why ?? 'a record is missing'}, and a sound one follows at ${proof}`)
  }

  #makeTail(bytes: Buffer, headEnd: number, offset: number): LogTail {
    const certain = this.#ends.findLast((e) => e.index <= this.#acknowledged)?.end ?? headEnd
    const usedEnd = Math.max(offset, lastUsed(bytes))
    const rewrite = Buffer.alloc(usedEnd - certain)
    bytes.copy(rewrite, 0, certain, offset)
    return { offset, crc: this.#crc, capacity: bytes.length, rewriteAt: certain, rewrite, tornBytes: usedEnd - offset }
  }
}

function decodeRecord(path: string, record: ChainedRecord): LogRecord {
  try {
    return decodeMessage('LogRecord', record.body)
  } catch (cause) {
    if (!isFault(cause)) throw cause
    throw corrupt(path, record.offset, 'a record with a sound checksum is no log record', cause)
  }
}

const blank = Buffer.alloc(64 * 1024)

/** The offset after the last byte that is not zero. */
function lastUsed(bytes: Buffer): number {
  let end = bytes.length
  while (end > 0) {
    const start = Math.max(0, end - blank.length)
    if (!bytes.subarray(start, end).equals(blank.subarray(0, end - start))) break
    end = start
  }
  while (end > 0 && bytes[end - 1] === 0) end -= 1
  return end
}

const corrupt = (path: string, offset: number, why: string, cause?: unknown): Fault =>
  new Fault(
    'corrupt',
    `${path} is damaged at byte ${offset}: ${why}. Nothing was changed; restore it from a copy, or remove this master and let it join anew`,
    { path, offset },
    cause
  )
