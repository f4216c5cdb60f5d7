import { assert, errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { recordHeadBytes } from '../../base/record-chain.ts'
import type { Init } from '../../proto/codec.ts'
import type { HardState, LogEntry, LogRecord } from '../../proto/gen/messages.ts'
import { type Disk, type DiskFile, writeAll, writeAllSynced } from './disk.ts'
import { RecordSlice } from './record-slice.ts'
import { type RecoveredLog, recoverLog } from './recovery.ts'
import { encodeLogRecord, encodeSegmentHead, type LogIdentity, type SegmentInfo, segmentPath, walFormat } from './segment.ts'
import { type Draft, SpareSegments } from './spare-segments.ts'

interface WalParts {
  readonly disk: Disk
  readonly log: Log
}

interface WalConfig extends LogIdentity {
  readonly directory: string
  readonly segmentBytes: number
  /** Entries above this index come back from recovery; the others are in a snapshot. */
  readonly keepAfter: number
}

interface Batch {
  readonly records: Init<LogRecord>[]
  readonly done: Promise<void>
  readonly settle: (failure?: Fault) => void
}

/** So much is encoded in one go before the event loop gets its turn. */
const sliceBytes = 256 * 1024

/**
 * The replicated log on disk. Everything that is appended while one fdatasync runs goes into the next one. Any failed write or
 * fsync ends it for ever: the kernel drops the pages it could not write, so a second try would report success for data that
 * is lost. The process must end and recover from what the disk holds.
 */
export class Wal {
  readonly #parts: WalParts
  readonly #config: WalConfig
  readonly #spares: SpareSegments
  readonly #slice = new RecordSlice()
  readonly #watchers: ((failure: Fault) => void)[] = []
  #segments: SegmentInfo[] = []
  #file: DiskFile | undefined
  #position = 0
  /** Up to here the segment at hand is durable. */
  #syncedBytes = 0
  #capacity = 0
  #crc = 0
  #lastIndex = 0
  #writtenIndex = 0
  #acknowledgedIndex = 0
  /** As of the last record written: what a new segment repeats must not run ahead of the entries before it. */
  #writtenHardState: Init<HardState> = noHardState
  #batch: Batch | undefined
  #flushing: Promise<void> | undefined
  #failure: Fault | undefined
  #closing = false

  constructor(parts: WalParts, config: WalConfig) {
    this.#parts = parts
    this.#config = config
    const onBroken = (cause: unknown): void => {
      this.#fail(cause)
    }
    this.#spares = new SpareSegments({ ...parts, onBroken }, config)
  }

  /** Of the last entry appended, durable or not. */
  get lastIndex(): number {
    return this.#lastIndex
  }

  /** The highest index whose fdatasync has ended. */
  get acknowledgedIndex(): number {
    return this.#acknowledgedIndex
  }

  get segments(): readonly SegmentInfo[] {
    return this.#segments
  }

  /** The disk has no room for more segments: append hard state, not entries. `relieve` looks again. */
  get isFull(): boolean {
    return this.#spares.low
  }

  /** Recovers the log or begins an empty one after `keepAfter`. Throws `Fault('corrupt')` and changes nothing on damage. */
  async open(): Promise<RecoveredLog> {
    const { disk, log } = this.#parts
    const { directory, keepAfter } = this.#config
    await disk.makeDirectory(directory)
    // What an earlier process renamed can be seen, and may not be durable yet: nothing may be promised in such a segment.
    await disk.syncDirectory(directory)
    const found = await recoverLog(disk, directory, this.#config, keepAfter)
    if (found === undefined && keepAfter > 0) {
      throw new Fault('corrupt', `${directory} holds no log, though a snapshot of entry ${keepAfter} is there`, { directory })
    }
    await this.#spares.clear()
    const recovered = found ?? (await this.#begin())
    this.#lastIndex = recovered.lastIndex
    this.#writtenHardState = recovered.hardState
    if (this.#file === undefined) await this.#resume(recovered)
    this.#writtenIndex = this.#lastIndex
    this.#acknowledgedIndex = this.#lastIndex
    this.#spares.fill()
    const { firstIndex, lastIndex, tail } = recovered
    if (tail.tornBytes > 0) log.warn({ directory, offset: tail.offset, tornBytes: tail.tornBytes }, 'wal.torn_tail_dropped')
    log.info({ directory, firstIndex, lastIndex, segments: this.#segments.length }, 'wal.opened')
    return recovered
  }

  /** Resolves when the entries are on disk. Rejects with `Fault('unavailable')`: then nobody knows whether they are. */
  append(entries: readonly Init<LogEntry>[]): Promise<void> {
    for (const { index } of entries) {
      assert(index === this.#lastIndex + 1, `entry ${index} follows ${this.#lastIndex}`)
      this.#lastIndex = index
    }
    return this.#enqueue(entries.map((entry) => ({ entry })))
  }

  saveHardState(hardState: Init<HardState>): Promise<void> {
    return this.#enqueue([{ hardState }])
  }

  /** Voids the entries from `fromIndex` on by a record of their end; what was written stays where it is. */
  truncate(fromIndex: number): Promise<void> {
    assert(
      fromIndex > 0 && fromIndex <= this.#lastIndex + 1,
      `truncate from ${fromIndex} in a log that ends at ${this.#lastIndex}`
    )
    this.#lastIndex = fromIndex - 1
    return this.#enqueue([{ truncate: { fromIndex } }])
  }

  /** All entries are void: a snapshot that is on this disk stands for everything up to `afterIndex`. */
  reset(afterIndex: number): Promise<void> {
    this.#lastIndex = afterIndex
    return this.#enqueue([{ reset: { afterIndex } }])
  }

  /** Removes segments that hold only entries before `index`. The segment in use always stays. */
  async compact(index: number): Promise<void> {
    const { disk } = this.#parts
    for (;;) {
      const oldest = this.#segments[0]
      if (oldest === undefined || this.#segments.length < 2 || oldest.highestIndex >= index) break
      await disk.remove(oldest.path)
      // One name at a time: a crash between two must leave the newer segments without a hole.
      await disk.syncDirectory(this.#config.directory)
      this.#segments = this.#segments.slice(1)
    }
    this.relieve()
  }

  relieve(): void {
    if (this.#failure === undefined) this.#spares.fill()
  }

  releaseReserve(): Promise<boolean> {
    return this.#spares.releaseReserve()
  }

  onFailure(watcher: (failure: Fault) => void): void {
    if (this.#failure !== undefined) watcher(this.#failure)
    else this.#watchers.push(watcher)
  }

  /** Writes what is pending and a last record that vouches for the entries before it. */
  async close(): Promise<void> {
    if (this.#closing) return
    if (this.#failure === undefined && this.#file !== undefined) await this.#vouch().catch(() => undefined)
    this.#closing = true
    await this.#flushing
    await this.#spares.close()
    // After a failure the last close may fail as well; the failure itself has been told.
    await this.#file?.close().catch(() => undefined)
    this.#file = undefined
  }

  async #vouch(): Promise<void> {
    await this.#flushing
    await this.saveHardState(this.#writtenHardState)
  }

  async #begin(): Promise<RecoveredLog> {
    const lastIndex = this.#config.keepAfter
    const firstIndex = lastIndex + 1
    await this.#adopt(await this.#spares.take(0), 1, firstIndex, 0)
    const tail = {
      offset: this.#position,
      crc: this.#crc,
      capacity: this.#capacity,
      rewriteAt: 0,
      rewrite: Buffer.alloc(0),
      tornBytes: 0
    }
    return {
      entries: [],
      firstIndex,
      lastIndex,
      lastTerm: 0,
      termBefore: 0,
      hardState: noHardState,
      segments: this.#segments,
      tail
    }
  }

  async #resume({ segments, tail }: RecoveredLog): Promise<void> {
    const last = segments.at(-1)
    assert(last !== undefined, 'a recovered log has a segment')
    const file = await this.#parts.disk.open(last.path)
    try {
      await writeAll(file, tail.rewrite, tail.rewriteAt)
      await file.sync()
    } catch (e) {
      await file.close()
      throw e
    }
    this.#segments = [...segments]
    this.#file = file
    this.#position = tail.offset
    this.#syncedBytes = tail.offset
    this.#capacity = tail.capacity
    this.#crc = tail.crc
  }

  #enqueue(records: readonly Init<LogRecord>[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#closing) return Promise.reject(new Fault('unavailable', 'the log is closed'))
    this.#batch ??= newBatch()
    const batch = this.#batch
    for (const record of records) batch.records.push(record)
    this.#flushing ??= this.#flush()
    return batch.done
  }

  async #flush(): Promise<void> {
    // What the same slice of the event loop appends goes along.
    await Promise.resolve()
    for (let batch = this.#batch; batch !== undefined; batch = this.#batch) {
      this.#batch = undefined
      try {
        await this.#write(batch.records)
        if (this.#failure === undefined) batch.settle()
        else batch.settle(this.#failure)
      } catch (e) {
        batch.settle(this.#fail(e))
      }
    }
    this.#flushing = undefined
  }

  async #write(records: readonly Init<LogRecord>[]): Promise<void> {
    const slice = this.#slice
    for (const record of records) {
      const before = slice.length
      let crc = this.#encode(record)
      if (this.#position + slice.length > this.#capacity) {
        const recordBytes = slice.length - before
        slice.cutTo(before)
        await this.#writeSlice()
        await this.#rotate(recordBytes)
        crc = this.#encode(record)
      }
      this.#crc = crc
      this.#account(record)
      if (slice.length >= sliceBytes) await this.#writeSlice()
    }
    await this.#finish()
  }

  /** With what tells a torn write from damage, should a record before this one be missing one day. */
  #encode(record: Init<LogRecord>): number {
    const vouched = { acknowledgedIndex: this.#acknowledgedIndex, syncedBytes: this.#syncedBytes }
    return this.#slice.add(record, vouched, this.#crc)
  }

  #account({ entry, truncate, hardState, reset }: Init<LogRecord>): void {
    if (hardState) this.#writtenHardState = hardState
    if (truncate) this.#writtenIndex = (truncate.fromIndex ?? 1) - 1
    if (reset) this.#writtenIndex = reset.afterIndex ?? 0
    if (truncate ?? reset) this.#acknowledgedIndex = Math.min(this.#acknowledgedIndex, this.#writtenIndex)
    if (!entry) return
    this.#writtenIndex = entry.index ?? 0
    const last = this.#segments.at(-1)
    if (last !== undefined && last.highestIndex < this.#writtenIndex) {
      this.#segments[this.#segments.length - 1] = { ...last, highestIndex: this.#writtenIndex }
    }
  }

  async #writeSlice(write = writeAll): Promise<void> {
    const { bytes } = this.#slice
    if (bytes.length === 0) return
    await write(this.#current(), bytes, this.#position)
    this.#position += bytes.length
    this.#slice.clear()
  }

  /** Most batches are one slice, and take one synced write; of a longer one the slices before the last still wait for the disk. */
  async #finish(): Promise<void> {
    if (this.#position === this.#syncedBytes) await this.#writeSlice(writeAllSynced)
    else {
      await this.#writeSlice()
      await this.#current().sync()
    }
    this.#synced()
  }

  #synced(): void {
    this.#acknowledgedIndex = this.#writtenIndex
    this.#syncedBytes = this.#position
  }

  /** Everything in the old segment is durable before the new one exists. */
  async #rotate(recordBytes: number): Promise<void> {
    await this.#current().sync()
    this.#synced()
    const last = this.#segments.at(-1)
    assert(last !== undefined, 'the log has a segment')
    await this.#current().close()
    this.#file = undefined
    const draft = await this.#spares.take(recordBytes + 1024)
    await this.#adopt(draft, last.number + 1, this.#writtenIndex + 1, this.#crc)
    this.#spares.fill()
  }

  async #adopt(draft: Draft, number: number, firstIndex: number, previousCrc: number): Promise<void> {
    const { disk } = this.#parts
    const { clusterId, nodeId, directory } = this.#config
    const bytes = draft.bytes
    const head = encodeSegmentHead({ format: walFormat, clusterId, nodeId, segment: number, previousCrc, firstIndex, bytes })
    // Each segment repeats the hard state, so that older ones can go.
    const state = encodeLogRecord({ hardState: this.#writtenHardState, acknowledgedIndex: this.#acknowledgedIndex }, head.crc)
    const path = segmentPath(directory, number)
    this.#file = draft.file
    await writeAll(draft.file, Buffer.concat([head.bytes, state.bytes]), 0)
    await draft.file.sync()
    await disk.rename(draft.path, path)
    await disk.syncDirectory(directory)
    this.#position = head.bytes.length + state.bytes.length
    this.#syncedBytes = this.#position
    this.#capacity = bytes
    this.#crc = state.crc
    this.#segments.push({ number, path, highestIndex: firstIndex - 1 })
  }

  #current(): DiskFile {
    if (this.#failure !== undefined) throw this.#failure
    assert(this.#file !== undefined, 'the log is open')
    return this.#file
  }

  #fail(cause: unknown): Fault {
    if (this.#failure !== undefined) return this.#failure
    const { directory } = this.#config
    const what = errnoOf(cause) ?? (cause instanceof Error ? cause.message : String(cause))
    const message = `the log in ${directory} could not be written (${what}): check the disk, then start the master again`
    const failure = new Fault('unavailable', message, { directory }, cause)
    this.#failure = failure
    this.#parts.log.error({ error: cause, directory }, 'wal.failed')
    this.#batch?.settle(failure)
    this.#batch = undefined
    for (const watcher of this.#watchers) watcher(failure)
    return failure
  }
}

/** What one entry takes in a segment at most, beside its data. */
export const entryOverheadBytes = recordHeadBytes + 64

const noHardState: HardState = { term: 0, votedFor: '', commit: 0, vote: 0 }

function newBatch(): Batch {
  let settle: (failure?: Fault) => void = () => undefined
  const done = new Promise<void>((resolve, reject) => {
    settle = (failure) => (failure === undefined ? resolve() : reject(failure))
  })
  // Whoever appended sees the rejection; a hard state that nobody waits for must not end the process by it.
  done.catch(() => undefined)
  return { records: [], done, settle }
}
