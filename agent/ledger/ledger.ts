import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Ledger } from '../ports.ts'
import { diskFiles, type LedgerFiles } from './files.ts'
import { Journal } from './journal.ts'
import { ledgerLevel, newerLedger, withoutNewer } from './level.ts'
import { own } from './owner.ts'
import { isFull, Reserve } from './reserve.ts'
import { type LedgerScan, scanLedger } from './salvage.ts'
import { ledgerName, ledgerNumber, type Position, quarantineName, writeSnapshot } from './snapshot.ts'
import { LedgerState } from './view.ts'

export interface LedgerParts {
  readonly log: Log
  /** Called once, when the disk has failed: from then on every append is refused and the agent must end. */
  readonly onFatal?: (fault: Fault) => void
  readonly files?: LedgerFiles
}

export interface LedgerConfig {
  readonly directory: string
  /** Kept free for the endings that must be recorded on a full disk. Default 1 MiB. */
  readonly reserveBytes?: number
  /** A snapshot is taken after this many bytes, or as many as the last one had. Default 4 MiB. */
  readonly snapshotAfterBytes?: number
  /** The level of a ledger that begins here; this version's own by default. */
  readonly freshLevel?: number
  /** A version that was taken back: what it wrote above this version's level counts as damage instead of ending the start. */
  readonly rejectedVersion?: string
}

/**
 * Opens the agent's memory, whatever state it was left in: the half of a last record is cut off; a damaged stretch is kept as
 * `quarantine-N.bin`, told in `quarantined`, and what can be proven behind it still counts. Throws `Fault('conflict')` where
 * another agent owns the directory, `unsupported` for a ledger of a newer agent.
 */
export async function openLedger(parts: LedgerParts, config: LedgerConfig): Promise<Ledger> {
  const { directory } = config
  const files = parts.files ?? diskFiles
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const ownership = await own(directory)
  try {
    const opening = new Opening(files, parts.log, config)
    const { at, state } = await opening.run()
    const reserve = new Reserve(files, directory, config.reserveBytes ?? 1024 * 1024)
    await reserve.take()
    if (!reserve.held) parts.log.error({ directory }, 'ledger.reserve_missing')
    return new Journal(
      { log: parts.log, files, ownership, reserve, state, onFatal: parts.onFatal ?? (() => undefined) },
      { directory, snapshotAfterBytes: config.snapshotAfterBytes ?? 4 * 1024 * 1024 },
      at
    )
  } catch (e) {
    ownership.release()
    if (isFull(e)) throw new Fault('exhausted', `the disk is full: no ledger can be made in ${directory}; free some space`, {}, e)
    throw e
  }
}

const readTries = 4
const readPauseMs = 50

interface Found {
  readonly number: number
  readonly bytes: Buffer
  readonly unreadable: string | undefined
}

class Opening {
  readonly #files: LedgerFiles
  readonly #log: Log
  readonly #directory: string
  readonly #config: LedgerConfig
  readonly #state = new LedgerState()

  constructor(files: LedgerFiles, log: Log, config: LedgerConfig) {
    this.#files = files
    this.#log = log
    this.#directory = config.directory
    this.#config = config
  }

  async run(): Promise<{ readonly at: Position; readonly state: LedgerState }> {
    const names = await this.#files.list(this.#directory)
    const numbers = names.flatMap((name) => ledgerNumber(name) ?? []).sort((a, b) => a - b)
    const found = await this.#newest(numbers)
    const scan = scanLedger(found?.bytes ?? Buffer.alloc(0), found?.number ?? 0)
    this.#refuseNewer(scan)
    for (const name of names) if (name.endsWith('.draft')) await this.#files.remove(join(this.#directory, name))
    const at = found === undefined ? await this.#fresh(numbers.at(-1) ?? 0) : await this.#resume(found, scan)
    for (const number of numbers) if (number !== at.number) await this.#files.remove(join(this.#directory, ledgerName(number)))
    return { at, state: this.#state }
  }

  /** The newest file that is not empty. */
  async #newest(numbers: readonly number[]): Promise<Found | undefined> {
    for (const number of [...numbers].reverse()) {
      const path = join(this.#directory, ledgerName(number))
      const read = await this.#read(path)
      if (typeof read === 'string') return { number, bytes: Buffer.alloc(0), unreadable: read }
      if (read.length > 0) return { number, bytes: read, unreadable: undefined }
    }
    return undefined
  }

  /** The bytes, or why they cannot be read: a disk is asked more than once before what it holds is set aside for good. */
  async #read(path: string): Promise<Buffer | string> {
    for (let left = readTries - 1; ; left -= 1) {
      try {
        return await this.#files.read(path)
      } catch (e) {
        if (left === 0) return String(errnoOf(e) ?? e)
        this.#log.warn({ error: e, path }, 'ledger.read_failed')
        await delay(readPauseMs)
      }
    }
  }

  #fresh(after: number): Promise<Position> {
    const { head } = this.#state
    this.#state.head = { ...head, format: this.#config.freshLevel ?? ledgerLevel }
    return writeSnapshot(this.#files, this.#directory, this.#state, after + 1, 0)
  }

  async #resume({ number, unreadable }: Found, whole: LedgerScan): Promise<Position> {
    const scan = this.#config.rejectedVersion === undefined ? whole : withoutNewer(whole, this.#config.rejectedVersion)
    const file = quarantineName(number)
    let sequence = 0
    for (const item of scan.items) {
      if (item.kind === 'gap') {
        this.#state.apply({ quarantine: { file, offset: item.offset, bytes: item.bytes, why: item.why } })
        continue
      }
      sequence = item.record.sequence
      this.#state.apply(item.record)
    }
    if (unreadable !== undefined)
      this.#state.apply({ quarantine: { file, offset: 0, bytes: 0, why: `cannot be read: ${unreadable}` } })
    if (unreadable !== undefined || scan.items.some((item) => item.kind === 'gap'))
      return await this.#replace(number, scan, sequence)
    return await this.#continue(number, scan, sequence)
  }

  #refuseNewer(scan: LedgerScan): void {
    if (this.#config.rejectedVersion !== undefined) return
    for (const item of scan.items) {
      const head = item.kind === 'record' ? item.record.head : null
      if (head !== null && head.format > ledgerLevel) throw new Fault('unsupported', newerLedger(this.#directory, head))
    }
  }

  async #continue(number: number, scan: LedgerScan, sequence: number): Promise<Position> {
    await this.#keepName()
    const file = await this.#files.open(join(this.#directory, ledgerName(number)))
    if (scan.tornBytes > 0) {
      await file.truncate(scan.end)
      await file.datasync()
      this.#log.warn({ directory: this.#directory, bytes: scan.tornBytes, offset: scan.end }, 'ledger.tail_cut')
    }
    return { number, file, offset: scan.end, crc: scan.crc, sequence }
  }

  /** Whoever made the file may have died before its name was durable: nothing may be told from it as long as a power cut undoes it. */
  async #keepName(): Promise<void> {
    await this.#files.syncDirectory(this.#directory).catch((e: unknown) => {
      if (!isFull(e)) throw e
      this.#log.warn({ error: e, directory: this.#directory }, 'ledger.name_not_synced')
    })
  }

  /** The damaged file is kept under another name, and a sound one begins. */
  async #replace(number: number, scan: LedgerScan, sequence: number): Promise<Position> {
    this.#log.error({ directory: this.#directory, quarantined: this.#state.quarantined }, 'ledger.damage_quarantined')
    const path = join(this.#directory, ledgerName(number))
    const kept = join(this.#directory, quarantineName(number))
    await this.#files.link(path, kept).catch((e: unknown) => {
      if (errnoOf(e) !== 'EEXIST' && !isFull(e)) throw e
    })
    try {
      return await writeSnapshot(this.#files, this.#directory, this.#state, number + 1, sequence)
    } catch (e) {
      if (!isFull(e)) throw e
      // The reserve is there for this; without it the agent would not start on a full disk.
      await this.#files.remove(join(this.#directory, 'reserve'))
    }
    return await writeSnapshot(this.#files, this.#directory, this.#state, number + 1, sequence).catch((e: unknown) => {
      if (!isFull(e)) throw e
      return this.#continue(number, { ...scan, tornBytes: 1 }, sequence)
    })
  }
}
