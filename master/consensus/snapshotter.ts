import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { ClusterState } from '../state/cluster.ts'
import { encodeSnapshot, freezeState, SnapshotDecoder } from '../state/snapshot.ts'
import type { Disk } from '../store/disk.ts'
import { listSnapshots, pruneSnapshots, readSnapshot, writeSnapshot } from '../store/snapshots.ts'
import type { SnapshotFacts } from './log-store.ts'
import { type Membership, membershipMessage, readMembership } from './membership.ts'

const snapshotsKept = 2

interface SnapshotterParts {
  readonly disk: Disk
  readonly log: Log
}

interface SnapshotterConfig {
  readonly directory: string
  readonly nodeId: string
  /** What the log begins with where there is no snapshot, or one of a master that was alone. */
  readonly genesis: Membership
}

/** Whoever gives away space for a snapshot and makes use of it afterwards. */
export interface SnapshotTaker {
  releaseReserve(): Promise<boolean>
  taken(facts: SnapshotFacts): Promise<void>
}

/** Writes the state to disk and reads it back. */
export class Snapshotter {
  readonly #parts: SnapshotterParts
  readonly #config: SnapshotterConfig
  readonly #folder: string

  constructor(parts: SnapshotterParts, config: SnapshotterConfig) {
    this.#parts = parts
    this.#config = config
    this.#folder = join(config.directory, 'snapshots')
  }

  /** The newest one; throws `Fault('corrupt')` where it is damaged. Undefined where there is none. */
  async load(): Promise<{ readonly state: ClusterState; readonly facts: SnapshotFacts } | undefined> {
    const { disk } = this.#parts
    await disk.makeDirectory(this.#folder)
    // One whose name is not durable yet must not become what the log goes on from.
    await disk.syncDirectory(this.#folder)
    const index = (await listSnapshots(disk, this.#folder)).at(-1)
    if (index === undefined) return undefined
    const decoder = new SnapshotDecoder()
    await readSnapshot(disk, this.#folder, index, (message) => decoder.push(message))
    const { state, head } = decoder.finish()
    const { nodeId, genesis } = this.#config
    const membership = head.membership === null ? genesis : readMembership(head.membership)
    return { state, facts: { index, term: head.term, membership, isForeign: head.nodeId !== nodeId } }
  }

  /** Of the state as it is now; `term` is the one of its last entry. The log before it goes afterwards. */
  async take(state: ClusterState, term: number, membership: Membership, taker: SnapshotTaker): Promise<void> {
    const { disk, log } = this.#parts
    const { nodeId } = this.#config
    const { index } = state
    const frozen = freezeState(state, { nodeId, term, membership: membershipMessage(membership) })
    const write = (): Promise<void> => writeSnapshot(disk, this.#folder, index, encodeSnapshot(frozen))
    try {
      await write()
    } catch (e) {
      if (errnoOf(e) !== 'ENOSPC' || !(await taker.releaseReserve())) throw e
      await write()
    }
    await taker.taken({ index, term, membership, isForeign: false })
    await pruneSnapshots(disk, this.#folder, snapshotsKept)
    log.info({ index }, 'replica.snapshot_taken')
  }
}
