import { join } from 'node:path'
import { assert, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { LogEntry } from '../../proto/gen/messages.ts'
import { type Entry, entryTypes } from '../raft/entry.ts'
import type { Message } from '../raft/message.ts'
import type { ConfState, HardState, Snapshot } from '../raft/state.ts'
import type { Storage } from '../raft/storage.ts'
import type { Disk } from '../store/disk.ts'
import type { RecoveredLog } from '../store/recovery.ts'
import { installSnapshot } from '../store/snapshots.ts'
import { Wal } from '../store/wal.ts'
import { LogTail } from './log-tail.ts'
import type { Membership } from './membership.ts'
import { isMemberOf } from './membership.ts'

interface LogStoreParts {
  readonly disk: Disk
  readonly log: Log
  /** A follower needs a snapshot that is newer, or knows more members, than the newest one there is. */
  readonly onSnapshotWanted: () => void
}

export interface LogStoreConfig {
  /** Holds `wal/` and `snapshots/`. */
  readonly directory: string
  readonly clusterId: string
  readonly nodeId: string
  readonly raftId: number
  readonly segmentBytes: number
  /** Entries before a snapshot that stay on disk. */
  readonly trailingEntries: number
  /** Entries that are applied and still in memory, for followers that lag. */
  readonly tailBytes: number
}

/** A snapshot that is on this disk; at index 0 the state before anything happened. */
export interface SnapshotFacts {
  readonly index: number
  readonly term: number
  readonly membership: Membership
  /** It was taken by another master and sent to this one. */
  readonly isForeign: boolean
}

/** The log, hard state and snapshots of one master: on disk through the WAL, and in memory as the core wants to see them. */
export class LogStore implements Storage {
  readonly #parts: LogStoreParts
  readonly #config: LogStoreConfig
  readonly #wal: Wal
  #snapshot: SnapshotFacts
  #tail: LogTail
  #hardState: HardState | undefined
  /** Of the last write or, while a snapshot is being installed, of all that waits behind it. */
  #last: Promise<void> = Promise.resolve()
  #isInstalling = false

  constructor(parts: LogStoreParts, config: LogStoreConfig, newest: SnapshotFacts) {
    this.#parts = parts
    this.#config = config
    this.#snapshot = newest
    this.#tail = new LogTail(newest.index, newest.term)
    this.#wal = new Wal(parts, { ...config, directory: join(config.directory, 'wal'), keepAfter: newest.index })
  }

  get wal(): Pick<Wal, 'isFull' | 'relieve' | 'releaseReserve' | 'onFailure' | 'segments' | 'lastIndex'> {
    return this.#wal
  }

  get newest(): SnapshotFacts {
    return this.#snapshot
  }

  /** Recovers the log after the newest snapshot. Throws `Fault('corrupt')` where it does not meet it. */
  async open(): Promise<void> {
    const { index, term } = this.#snapshot
    const recovered = await this.#wal.open()
    const meets = recovered.lastIndex >= index && (recovered.termBefore === 0 || recovered.termBefore === term)
    // A crash came between a snapshot of another master and the record that the log before it is void.
    if (!meets && this.#snapshot.isForeign) await this.#wal.reset(index)
    else if (!meets || recovered.firstIndex > index + 1) throw this.#doesNotMeet(recovered)
    const entries = meets ? recovered.entries.map(entryOf) : []
    this.#tail.append(entries)
    this.#hardState = this.#restoredHardState(recovered)
  }

  initialState(): { readonly hardState: HardState | undefined; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.membership }
  }

  firstIndex(): number {
    return this.#tail.firstIndex
  }

  lastIndex(): number {
    return this.#tail.lastIndex
  }

  term(index: number): number | undefined {
    return this.#tail.term(index)
  }

  entries(low: number, high: number, maxBytes: number): readonly Entry[] | undefined {
    return this.#tail.slice(low, high, maxBytes)
  }

  /** Without its data: whoever sends it reads it from the disk. */
  snapshot(to: number): Snapshot | undefined {
    const { index, term, membership } = this.#snapshot
    if (index > 0 && index >= this.firstIndex() - 1 && isMemberOf(membership, to)) {
      return { index, term, confState: membership, data: new Uint8Array() }
    }
    this.#parts.onSnapshotWanted()
    return undefined
  }

  /**
   * Stores what a message to the append thread holds. Resolves once that is durable, in the order of the calls; rejects once the
   * log has failed. `membership` is the one of the snapshot in it.
   */
  write(m: Message, membership?: Membership): Promise<void> {
    if (m.snapshot === undefined && !this.#isInstalling) {
      this.#last = this.#writeNow(m, this.#last)
      return this.#last
    }
    this.#isInstalling = true
    const done = this.#last.then(() => (membership === undefined ? this.#writeNow(m, nothing) : this.#install(m, membership)))
    this.#last = done
    const finish = (): void => {
      if (this.#last === done) this.#isInstalling = false
    }
    done.then(finish, finish)
    return done
  }

  /** A snapshot was taken: what is older may go, on disk but for the trailing entries, in memory as room is needed. */
  async snapshotTaken(facts: SnapshotFacts): Promise<void> {
    if (facts.index <= this.#snapshot.index) return
    this.#snapshot = facts
    await this.#wal.compact(facts.index - this.#config.trailingEntries)
  }

  /** Entries up to `index` are applied: the oldest of them are let go of in memory. */
  applied(index: number): void {
    this.#tail.trim(index, this.#config.tailBytes)
  }

  async close(): Promise<void> {
    await this.#last.catch(() => undefined)
    // The newest commit index; after a failure there is nothing to add.
    if (this.#hardState !== undefined) await this.#wal.saveHardState(this.#hardState).catch(() => undefined)
    await this.#wal.close()
  }

  #writeNow(m: Message, before: Promise<void>): Promise<void> {
    const { entries } = m
    const [first] = entries
    const known = this.#hardState
    const hardState = m.term > 0 ? { term: m.term, vote: m.vote, commit: m.commit } : known
    const isPromise = hardState?.term !== known?.term || hardState?.vote !== known?.vote
    this.#hardState = hardState
    // A commit index alone is no promise: it goes along with the next write, which comes after whatever is under way.
    if (first === undefined && !isPromise) return before
    if (first !== undefined && first.index <= this.#wal.lastIndex) void this.#wal.truncate(first.index).catch(() => undefined)
    // Entries stand before term, vote and commit, so that a torn batch knows of no commit beyond its end.
    const appended = this.#wal.append(entries.map(loggedEntry))
    const written = hardState === undefined ? appended : this.#wal.saveHardState(hardState)
    return written.then(() => this.#tail.append(entries))
  }

  /** The file first, then the record that voids the log: a crash between the two is mended by `open`. */
  async #install(m: Message, membership: Membership): Promise<void> {
    assert(m.snapshot !== undefined, 'a snapshot is installed that is not there')
    const { index, term, data } = m.snapshot
    await installSnapshot(this.#parts.disk, join(this.#config.directory, 'snapshots'), index, data)
    await this.#wal.reset(index)
    this.#tail.reset(index, term)
    this.#snapshot = { index, term, membership, isForeign: true }
    await this.#writeNow(m, nothing)
  }

  /** Entries can be durable whose term and commit are not: nothing was promised in that term, so no vote was cast. */
  #restoredHardState({ hardState, lastTerm }: RecoveredLog): HardState {
    const { raftId, nodeId } = this.#config
    const { index, term: snapshotTerm } = this.#snapshot
    const vote = hardState.votedFor === nodeId ? raftId : hardState.vote
    const term = Math.max(hardState.term, lastTerm, snapshotTerm)
    const commit = Math.min(this.lastIndex(), Math.max(hardState.commit, index))
    return { term, vote: term === hardState.term ? vote : 0, commit }
  }

  #doesNotMeet({ firstIndex, lastIndex }: RecoveredLog): Fault {
    const { directory } = this.#config
    const { index } = this.#snapshot
    const message = `the log in ${directory} has entries ${firstIndex} to ${lastIndex}, which do not meet the snapshot of ${index}`
    return new Fault('corrupt', message, { directory })
  }
}

const nothing = Promise.resolve()

const loggedEntry = ({ term, index, type, data }: Entry): LogEntry => ({ term, index, type: entryTypes.indexOf(type), data })

const entryOf = ({ term, index, type, data }: LogEntry): Entry => ({ term, index, type: entryTypes[type] ?? 'normal', data })
