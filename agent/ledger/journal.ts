import { join } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { encodeRecord, maxRecordBytes } from '../../base/record-chain.ts'
import { encodeKeeping, encodeMessage, type Init } from '../../proto/codec.ts'
import type { LedgerRecord } from '../../proto/gen/messages.ts'
import type { Ledger, LedgerView } from '../ports.ts'
import { type LedgerFiles, writeFully } from './files.ts'
import { ledgerLevel, recordAt } from './level.ts'
import type { Ownership } from './owner.ts'
import { isFull, type Reserve } from './reserve.ts'
import { ledgerName, type Position, writeSnapshot } from './snapshot.ts'
import type { LedgerState } from './view.ts'

export interface JournalParts {
  readonly log: Log
  readonly files: LedgerFiles
  readonly ownership: Ownership
  readonly reserve: Reserve
  readonly state: LedgerState
  /** Called once, when the disk has failed: from then on nothing can be remembered, and the agent must end. */
  readonly onFatal: (fault: Fault) => void
}

export interface JournalConfig {
  readonly directory: string
  readonly snapshotAfterBytes: number
}

interface Entry {
  /** Still without its sequence, which it gets when it is written: a snapshot may come before. */
  readonly body: Uint8Array
  /** What the body says, for the view. */
  readonly fact: LedgerRecord
  readonly disk: boolean
  readonly resolve: () => void
  readonly reject: (e: Error) => void
}

const sequenceBytesMost = 16
const batchEntries = 256
const batchBytes = 1024 * 1024
const waitingBytesMost = 64 * 1024 * 1024

/** Appends in the order of the calls; one write for all that wait, one fdatasync for all that were written since the last one. */
export class Journal implements Ledger {
  readonly #parts: JournalParts
  readonly #config: JournalConfig
  #at: Position
  #snapshotAt: number
  readonly #waiting: Entry[] = []
  #waitingBytes = 0
  #unsynced: Entry[] = []
  #writing: Promise<void> | undefined
  #syncing: Promise<void> | undefined
  #ended: Fault | undefined

  constructor(parts: JournalParts, config: JournalConfig, at: Position) {
    this.#parts = parts
    this.#config = config
    this.#at = at
    this.#snapshotAt = at.offset + config.snapshotAfterBytes
  }

  get view(): LedgerView {
    return this.#parts.state
  }

  get quarantined(): Ledger['quarantined'] {
    return this.#parts.state.quarantined
  }

  get low(): boolean {
    return !this.#parts.reserve.held
  }

  async append(record: Init<LedgerRecord>, durability: 'kernel' | 'disk'): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended
    // Without a test there is no wait: the order of calls is the order in the file.
    if (record.task && this.low) await this.#refuseWhenLow()
    const { bytes: body, plain: fact } = this.#encode(record)
    if (this.#waitingBytes + body.length > waitingBytesMost) {
      throw new Fault('exhausted', 'the ledger cannot keep up: too many records wait for the disk', { bytes: this.#waitingBytes })
    }
    this.#waitingBytes += body.length
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ body, fact, disk: durability === 'disk', resolve, reject })
      this.#writing ??= this.#write()
    })
  }

  /** Waits for what was appended before, then lets go of the directory. */
  async close(): Promise<void> {
    this.#ended ??= new Fault('unavailable', 'the ledger is closed')
    try {
      await this.#writing
      await this.#syncing
      await this.#at.file.close()
    } finally {
      this.#parts.ownership.release()
    }
  }

  async hasRoom(): Promise<boolean> {
    if (!this.low) return true
    this.#writing ??= this.#write()
    await this.#writing
    if (this.#ended !== undefined) throw this.#ended
    return !this.low
  }

  async #refuseWhenLow(): Promise<void> {
    if (!(await this.hasRoom())) {
      throw new Fault('exhausted', 'the disk is full: no new task is taken until there is space again')
    }
  }

  #encode(record: Init<LedgerRecord>): ReturnType<typeof encodeKeeping<'LedgerRecord'>> {
    const members = membersOf(record)
    if (members !== 1) throw new Fault('invalid', `a ledger record tells one thing, not ${members}`)
    const level = this.view.head.format
    const written = recordAt(record, this.view)
    const asked = written.head?.format ?? level
    if (asked < level || asked > ledgerLevel) {
      throw new Fault('invalid', `the ledger has level ${level} and this version writes up to ${ledgerLevel}, not ${asked}`)
    }
    const encoded = encodeKeeping('LedgerRecord', written.sequence ? { ...written, sequence: 0 } : written)
    const most = maxRecordBytes - sequenceBytesMost
    const { length } = encoded.bytes
    if (length > most) throw new Fault('invalid', `a ledger record of ${length} bytes is over the limit of ${most}`)
    return encoded
  }

  async #write(): Promise<void> {
    await Promise.resolve() // so that the calls of one turn share one write
    try {
      if (this.low) await this.#parts.reserve.retake()
      while (this.#waiting.length > 0) {
        await this.#append(this.#nextBatch())
        if (this.#at.offset >= this.#snapshotAt) await this.#compact()
      }
    } catch (e) {
      this.#die(e)
    } finally {
      this.#writing = undefined
    }
  }

  #nextBatch(): Entry[] {
    let bytes = 0
    let count = 0
    for (const { body } of this.#waiting) {
      if (count > 0 && (count === batchEntries || bytes + body.length > batchBytes)) break
      bytes += body.length
      count += 1
    }
    this.#waitingBytes -= bytes
    return this.#waiting.splice(0, count)
  }

  /** Where the disk stays full for the batch, its records are tried one by one: a small one may still fit. */
  async #append(batch: readonly Entry[]): Promise<void> {
    try {
      await this.#appendAll(batch)
    } catch (e) {
      if (!isFault(e, 'exhausted')) {
        for (const { reject } of batch) reject(this.#die(e))
        return
      }
      if (batch.length === 1) batch[0]?.reject(e)
      else for (const entry of batch) await this.#append([entry])
    }
  }

  async #appendAll(batch: readonly Entry[]): Promise<void> {
    let { crc, sequence } = this.#at
    const bytes = Buffer.concat(
      batch.map(({ body }) => {
        sequence += 1
        const record = encodeRecord(numbered(body, sequence), crc)
        crc = record.crc
        return record.bytes
      })
    )
    await this.#put(bytes)
    this.#at = { ...this.#at, crc, sequence, offset: this.#at.offset + bytes.length }
    for (const entry of batch) {
      this.#parts.state.apply(entry.fact)
      if (entry.disk) this.#unsynced.push(entry)
      else entry.resolve()
    }
    if (this.#unsynced.length > 0) this.#syncing ??= this.#sync()
  }

  /** On a full disk the reserve makes room. Throws `Fault('exhausted')` where even that is used up; then nothing was written. */
  async #put(bytes: Uint8Array): Promise<void> {
    const { file, offset } = this.#at
    try {
      await writeFully(file, bytes, offset)
      return
    } catch (e) {
      if (!isFull(e)) throw e
    }
    try {
      if (this.#parts.reserve.held) {
        this.#parts.log.error({ directory: this.#config.directory }, 'ledger.reserve_given_up')
        await this.#parts.reserve.giveUp()
      }
      await writeFully(file, bytes, offset)
    } catch (e) {
      if (!isFull(e)) throw e
      await file.truncate(offset)
      throw new Fault('exhausted', `the disk is full: the ledger in ${this.#config.directory} cannot grow`, {}, e)
    }
  }

  async #sync(): Promise<void> {
    try {
      while (this.#unsynced.length > 0) {
        const synced = this.#unsynced
        this.#unsynced = []
        await this.#at.file.datasync().catch((e: unknown) => {
          const fault = this.#die(e)
          for (const { reject } of synced) reject(fault)
          throw fault
        })
        for (const { resolve } of synced) resolve()
      }
    } catch (e) {
      if (!isFault(e, 'corrupt')) throw e
    } finally {
      this.#syncing = undefined
    }
  }

  /** A new file with the live state takes the place of the old one. Where that fails the old one goes on. */
  async #compact(): Promise<void> {
    await this.#syncing
    if (isFault(this.#ended, 'corrupt')) return
    const { files, state, log } = this.#parts
    const { directory, snapshotAfterBytes } = this.#config
    const old = this.#at
    try {
      this.#at = await writeSnapshot(files, directory, state, old.number + 1, old.sequence)
    } catch (e) {
      log.warn({ error: e, directory }, 'ledger.snapshot_failed')
      this.#snapshotAt = old.offset + snapshotAfterBytes
      return
    }
    this.#snapshotAt = this.#at.offset + Math.max(this.#at.offset, snapshotAfterBytes)
    await old.file.close()
    await files.remove(join(directory, ledgerName(old.number)))
    log.info({ directory, number: this.#at.number, bytes: this.#at.offset, bytesBefore: old.offset }, 'ledger.compacted')
  }

  /** After a failed write or sync nobody knows what is on the disk: nothing is ever tried again. */
  #die(cause: unknown): Fault {
    if (isFault(this.#ended, 'corrupt')) return this.#ended
    const errno = errnoOf(cause) ?? (cause instanceof Error ? cause.message : String(cause))
    const fault = new Fault(
      'corrupt',
      `the ledger in ${this.#config.directory} cannot be written (${errno}): check the disk, then start the agent again`,
      { errno },
      cause
    )
    this.#ended = fault
    this.#parts.log.error({ error: cause, directory: this.#config.directory }, 'ledger.failed')
    for (const { reject } of [...this.#waiting.splice(0), ...this.#unsynced.splice(0)]) reject(fault)
    this.#waitingBytes = 0
    this.#parts.onFatal(fault)
    return fault
  }
}

/** How many things a record tells, beside its number. */
function membersOf(record: Init<LedgerRecord>): number {
  let members = 0
  for (const name in record) {
    const value = record[name as keyof LedgerRecord]
    if (name !== 'sequence' && value !== null && value !== undefined) members += 1
  }
  return members
}

/** Encoded messages that stand one after the other are their union (protobuf encoding, "Last one wins"). */
const numbered = (body: Uint8Array, sequence: number): Uint8Array =>
  Buffer.concat([body, encodeMessage('LedgerRecord', { sequence })])
