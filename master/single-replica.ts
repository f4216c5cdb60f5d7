import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { completeMessage, decodeMessage, encodeMessage } from '../proto/codec.ts'
import type { Answer, Command, LogEntry } from '../proto/gen/messages.ts'
import type { AppliedChange, Leadership, ProposeOutcome, Replica, ReplicaCommand } from './replica.ts'
import { applyOnce } from './state/apply.ts'
import { ClusterState, highestFeatureLevel } from './state/cluster.ts'
import { encodeSnapshot, freezeState, SnapshotDecoder } from './state/snapshot.ts'
import { ChangeWindow, type WindowLimits } from './store/change-window.ts'
import { type Disk, systemDisk } from './store/disk.ts'
import { LeadershipBoard } from './store/leadership-board.ts'
import { type Lock, lockDirectory } from './store/lock.ts'
import { listSnapshots, pruneSnapshots, readSnapshot, writeSnapshot } from './store/snapshots.ts'
import { entryOverheadBytes, Wal } from './store/wal.ts'

export interface SingleReplicaParts {
  readonly log: Log
  readonly clock: Clock
  readonly disk?: Disk
}

export interface SingleReplicaConfig {
  /** Holds `wal/` and `snapshots/`; made where it is missing. */
  readonly directory: string
  readonly clusterId: string
  readonly nodeId: string
  /** A snapshot is taken after so many bytes of log. Default 64 MiB. */
  readonly snapshotEveryBytes?: number
  /** Default 64 MiB. */
  readonly segmentBytes?: number
  /** Entries before a snapshot that stay in the log. Default 1024. */
  readonly trailingEntries?: number
  /** Larger commands are refused with `too-large`. Default 4 MiB. */
  readonly maxCommandBytes?: number
  /** More at once is refused with `overloaded`. Defaults 8192 and 64 MiB. */
  readonly maxInFlight?: number
  readonly maxInFlightBytes?: number
  /** What `changes` can go back to. Default 20,000 changes, 32 MiB. */
  readonly window?: WindowLimits
}

export interface SingleReplica extends Replica {
  /** Read it, never change it. */
  readonly state: ClusterState
  /** Calls back once when the log cannot be written any more: the process must end and start again. */
  onFatal(listener: (failure: Fault) => void): void
  /** Takes a snapshot now and drops the log before it. Does nothing while one is being taken. */
  snapshot(): Promise<void>
  /** Later proposals are refused with `stopping`; those in flight are decided first. */
  close(): Promise<void>
}

const defaults = {
  snapshotEveryBytes: 64 * 1024 * 1024,
  segmentBytes: 64 * 1024 * 1024,
  trailingEntries: 1024,
  maxCommandBytes: 4 * 1024 * 1024,
  maxInFlight: 8192,
  maxInFlightBytes: 64 * 1024 * 1024,
  window: { changes: 20_000, bytes: 32 * 1024 * 1024 }
}

type Settings = Required<SingleReplicaConfig>
type Parts = Required<SingleReplicaParts>

const snapshotsKept = 2
const sliceMs = 5

interface Pending {
  readonly entry: LogEntry
  readonly settle: (outcome: ProposeOutcome) => void
}

/**
 * One voter: what its log holds durably is committed. Recovers snapshot and log, takes the next term for itself and leads.
 * Rejects with `Fault('conflict')` where another process or another cluster owns the directory, `Fault('corrupt')` on damage.
 */
export async function openSingleReplica(parts: SingleReplicaParts, config: SingleReplicaConfig): Promise<SingleReplica> {
  const full = { disk: systemDisk, ...parts }
  const settings = { ...defaults, ...config }
  await full.disk.makeDirectory(settings.directory)
  const lock = await lockDirectory(settings.directory)
  const replica = new OneVoter(full, settings, lock)
  try {
    await replica.open()
    return replica
  } catch (e) {
    await replica.close()
    throw e
  }
}

class OneVoter implements SingleReplica {
  readonly #parts: Parts
  readonly #config: Settings
  readonly #lock: Lock
  readonly #leadership = new LeadershipBoard()
  readonly #snapshots: string
  #state = new ClusterState()
  #wal: Wal | undefined
  #window: ChangeWindow
  /** Appended, not yet applied; in the order of the log. */
  #pending: Pending[] = []
  #inFlightBytes = 0
  #lastAtMs = 0
  #bytesSinceSnapshot = 0
  #snapshotting: Promise<void> | undefined
  #applying: Promise<void> | undefined
  #isApplying = false
  #closing: Promise<void> | undefined
  #standing: 'opening' | 'leading' | 'stopping' | 'failed' = 'opening'

  constructor(parts: Parts, config: Settings, lock: Lock) {
    this.#parts = parts
    this.#config = config
    this.#lock = lock
    this.#snapshots = join(config.directory, 'snapshots')
    this.#window = new ChangeWindow(0, config.window)
  }

  get state(): ClusterState {
    return this.#state
  }

  get leadership(): Leadership {
    return this.#leadership
  }

  async open(): Promise<void> {
    const { disk, log } = this.#parts
    const { clusterId, nodeId, segmentBytes, directory } = this.#config
    await this.#loadSnapshot()
    const keepAfter = this.#state.index
    const wal = new Wal({ disk, log }, { directory: join(directory, 'wal'), clusterId, nodeId, segmentBytes, keepAfter })
    this.#wal = wal
    wal.onFailure((failure) => this.#fail(failure))
    const recovered = await wal.open()
    const { firstIndex, lastIndex } = recovered
    if (firstIndex > keepAfter + 1 || lastIndex < keepAfter) {
      const message = `the log in ${directory} has entries ${firstIndex} to ${lastIndex}, which do not meet the snapshot of ${keepAfter}`
      throw new Fault('corrupt', message, { directory })
    }
    this.#window = new ChangeWindow(keepAfter, this.#config.window)
    for (const entry of recovered.entries) this.#apply(entry)
    this.#lastAtMs = this.#state.atMs
    await this.#lead(wal, recovered.hardState.term + 1)
  }

  async propose(session: string, seq: number, command: ReplicaCommand, signal: AbortSignal): Promise<ProposeOutcome> {
    const wal = this.#wal
    if (this.#standing === 'failed') return { kind: 'not-leader', hint: '' }
    if (this.#standing !== 'leading' || wal === undefined) return refusal('stopping', 'this master is stopping')
    if (signal.aborted) return { kind: 'unknown' }
    const atMs = Math.max(this.#lastAtMs, this.#parts.clock.wallMs())
    const data = encodeMessage('Command', { ...command, session, seq, atMs })
    const refused = this.#admission(wal, command, data.length)
    if (refused !== undefined) return refused
    this.#lastAtMs = atMs
    const outcome = this.#append(wal, data)
    return await withAbort(outcome, signal)
  }

  read(signal: AbortSignal): Promise<number> {
    if (signal.aborted) return Promise.reject(signal.reason as Error)
    if (this.#standing === 'failed') return Promise.reject(new Fault('unavailable', 'the log of this master has failed'))
    if (this.#standing === 'stopping') return Promise.reject(new Fault('unavailable', 'this master is stopping'))
    // Nothing is acknowledged before it is applied, and no other voter can acknowledge anything.
    return Promise.resolve(this.#state.index)
  }

  changes(fromIndex: number, signal: AbortSignal): AsyncIterable<AppliedChange> {
    return this.#window.read(fromIndex, signal)
  }

  onFatal(listener: (failure: Fault) => void): void {
    this.#wal?.onFailure(listener)
  }

  snapshot(): Promise<void> {
    this.#snapshotting ??= this.#takeSnapshot().finally(() => {
      this.#snapshotting = undefined
    })
    return this.#snapshotting
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const failed = this.#standing === 'failed'
    this.#standing = 'stopping'
    this.#leadership.lose()
    await this.#wal?.close()
    await this.#applying
    await this.#snapshotting?.catch(() => undefined)
    if (!failed) this.#window.close()
    for (const { settle } of this.#pending.splice(0)) settle({ kind: 'unknown' })
    await this.#lock.release()
  }

  async #loadSnapshot(): Promise<void> {
    const { disk } = this.#parts
    await disk.makeDirectory(this.#snapshots)
    const index = (await listSnapshots(disk, this.#snapshots)).at(-1)
    if (index === undefined) return
    const decoder = new SnapshotDecoder()
    await readSnapshot(disk, this.#snapshots, index, (message) => decoder.push(message))
    const { state, head } = decoder.finish()
    if (head.nodeId !== this.#config.nodeId) {
      throw new Fault('conflict', `the snapshots in ${this.#snapshots} are of node ${head.nodeId}, not of ${this.#config.nodeId}`)
    }
    this.#state = state
    this.#checkState()
  }

  async #lead(wal: Wal, term: number): Promise<void> {
    const { nodeId, clusterId } = this.#config
    await wal.saveHardState({ term, votedFor: nodeId, commit: wal.lastIndex })
    this.#leadership.term = term
    await this.#append(wal, new Uint8Array())
    if (this.#state.clusterId === '') {
      const atMs = Math.max(this.#lastAtMs, this.#parts.clock.wallMs())
      await this.#append(wal, encodeMessage('Command', { atMs, initCluster: { clusterId } }))
    }
    this.#checkState()
    if (this.#standing !== 'opening') throw new Fault('unavailable', `the log in ${this.#config.directory} failed at once`)
    this.#standing = 'leading'
    this.#leadership.gain(term)
    this.#parts.log.info({ term, index: this.#state.index, clusterId }, 'replica.leading')
  }

  #checkState(): void {
    const { clusterId, featureLevel } = this.#state
    if (clusterId !== '' && clusterId !== this.#config.clusterId) {
      throw new Fault('conflict', `${this.#config.directory} belongs to cluster ${clusterId}, not to ${this.#config.clusterId}`)
    }
    if (featureLevel > highestFeatureLevel) {
      const message = `the cluster is at feature level ${featureLevel}; this build knows ${highestFeatureLevel}: upgrade it`
      throw new Fault('unsupported', message)
    }
  }

  #admission(wal: Wal, command: ReplicaCommand, bytes: number): ProposeOutcome | undefined {
    const { maxCommandBytes, maxInFlight, maxInFlightBytes } = this.#config
    if ((command.raiseFeatureLevel?.level ?? 0) > highestFeatureLevel) {
      throw new Fault('unsupported', `this master knows feature levels up to ${highestFeatureLevel}: upgrade every master first`)
    }
    if (bytes > maxCommandBytes)
      return refusal('too-large', `a command of ${bytes} bytes is over the limit of ${maxCommandBytes}`)
    if (this.#pending.length >= maxInFlight || this.#inFlightBytes + bytes > maxInFlightBytes) {
      return refusal('overloaded', `${this.#pending.length} commands are in flight: try again in a moment`)
    }
    if (wal.isFull) {
      this.#seekSpace(wal)
      return refusal('disk-full', `the disk of ${this.#config.directory} is full: free some space`)
    }
    return undefined
  }

  /** What a snapshot frees may be enough; where one was tried since the last command, only the operator can help. */
  #seekSpace(wal: Wal): void {
    if (this.#bytesSinceSnapshot > 0) this.#startSnapshot()
    else wal.relieve()
  }

  #append(wal: Wal, data: Uint8Array): Promise<ProposeOutcome> {
    const entry = { term: this.#leadership.term, index: wal.lastIndex + 1, data }
    return new Promise((settle) => {
      this.#pending.push({ entry, settle })
      this.#inFlightBytes += data.length
      wal.append([entry]).then(
        () => this.#startApplying(wal),
        // `#fail` has told everybody who waits.
        () => undefined
      )
    })
  }

  #startApplying(wal: Wal): void {
    if (this.#isApplying) return
    this.#isApplying = true
    this.#applying = this.#applyDurable(wal)
  }

  /** In slices, so that a burst does not hold up the event loop. */
  async #applyDurable(wal: Wal): Promise<void> {
    const { clock } = this.#parts
    let until = clock.monotonicMs() + sliceMs
    let applied = 0
    for (;;) {
      const next = this.#pending[applied]
      if (next === undefined || next.entry.index > wal.acknowledgedIndex) break
      const { index, term, data } = next.entry
      next.settle({ kind: 'applied', index, term, answer: this.#apply(next.entry) })
      this.#inFlightBytes -= data.length
      applied += 1
      if (clock.monotonicMs() < until) continue
      this.#pending.splice(0, applied)
      applied = 0
      await new Promise((resolve) => setImmediate(resolve))
      until = clock.monotonicMs() + sliceMs
    }
    this.#pending.splice(0, applied)
    this.#isApplying = false
    this.#considerSnapshot()
  }

  #apply(entry: LogEntry): Answer {
    const command = decodeCommand(entry.data)
    const { answer, repeated } = applyOnce(this.#state, command, entry.index)
    const { session, seq, atMs } = command
    // Watchers derive events from changes: what was not applied again must not be told again.
    const told = repeated ? completeMessage('Command', { session, seq, atMs }) : command
    const bytes = entry.data.length + entryOverheadBytes
    this.#window.add({ index: entry.index, term: entry.term, command: told, answer }, bytes)
    this.#bytesSinceSnapshot += bytes
    return answer
  }

  #considerSnapshot(): void {
    if (this.#standing !== 'leading' || this.#bytesSinceSnapshot < this.#config.snapshotEveryBytes) return
    this.#startSnapshot()
  }

  #startSnapshot(): void {
    this.snapshot().catch((error: unknown) => this.#parts.log.error({ error }, 'replica.snapshot_failed'))
  }

  async #takeSnapshot(): Promise<void> {
    const wal = this.#wal
    if (wal === undefined) return
    const { disk, log } = this.#parts
    const { index } = this.#state
    const frozen = freezeState(this.#state, { nodeId: this.#config.nodeId, term: this.#leadership.term })
    this.#bytesSinceSnapshot = 0
    const write = (): Promise<void> => writeSnapshot(disk, this.#snapshots, index, encodeSnapshot(frozen))
    try {
      await write()
    } catch (e) {
      if (errnoOf(e) !== 'ENOSPC' || !(await wal.releaseReserve())) throw e
      await write()
    }
    await wal.compact(index - this.#config.trailingEntries)
    await pruneSnapshots(disk, this.#snapshots, snapshotsKept)
    log.info({ index, segments: wal.segments.length }, 'replica.snapshot_taken')
  }

  #fail(failure: Fault): void {
    if (this.#standing === 'failed') return
    this.#standing = 'failed'
    this.#leadership.lose()
    for (const { settle } of this.#pending.splice(0)) settle({ kind: 'unknown' })
    this.#window.close(failure)
  }
}

/** The no-op of a new leader is an empty command; bytes that this build cannot read count as an unknown one. */
function decodeCommand(data: Uint8Array): Command {
  try {
    return decodeMessage('Command', data)
  } catch (e) {
    if (isFault(e)) return decodeMessage('Command', new Uint8Array())
    throw e
  }
}

type RefusalReason = Extract<ProposeOutcome, { readonly kind: 'refused' }>['reason']

const refusal = (reason: RefusalReason, message: string): ProposeOutcome => ({ kind: 'refused', reason, message })

function withAbort(outcome: Promise<ProposeOutcome>, signal: AbortSignal): Promise<ProposeOutcome> {
  return new Promise((resolve) => {
    const stop = (): void => resolve({ kind: 'unknown' })
    signal.addEventListener('abort', stop, { once: true })
    void outcome.then((value) => {
      signal.removeEventListener('abort', stop)
      resolve(value)
    })
  })
}
