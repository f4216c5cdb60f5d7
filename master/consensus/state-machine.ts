import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import { completeMessage, decodeMessage } from '../../proto/codec.ts'
import type { Answer, Command } from '../../proto/gen/messages.ts'
import type { Entry } from '../raft/entry.ts'
import type { AppliedChange } from '../replica.ts'
import { applyOnce } from '../state/apply.ts'
import type { ClusterState } from '../state/cluster.ts'
import { ChangeWindow, type WindowLimits } from '../store/change-window.ts'
import { entryOverheadBytes } from '../store/wal.ts'
import type { SnapshotFacts } from './log-store.ts'
import type { Membership } from './membership.ts'
import type { ArrivedSnapshot, CommittedEntry } from './port.ts'
import type { SnapshotTaker, Snapshotter } from './snapshotter.ts'

interface MachineParts {
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly turn: (work: () => void) => void
  readonly snapshotter: Snapshotter
  readonly onApplied: (entry: Entry, answer: Answer) => void
}

const sliceMs = 5
/** Small commands are applied for less than it costs to look at the clock. */
const clockEvery = 16
const largeBytes = 4096

/** What the log says, applied in its order and each entry once; and the way from it to a snapshot and back. */
export class StateMachine {
  /** Read it, never change it. */
  readonly state: ClusterState
  readonly window: ChangeWindow<KeptChange>
  readonly #parts: MachineParts
  #membership: Membership
  #appliedTerm: number
  #bytesSinceSnapshot = 0
  #snapshotting: Promise<void> | undefined

  constructor(parts: MachineParts, state: ClusterState, newest: SnapshotFacts, window: WindowLimits) {
    this.#parts = parts
    this.state = state
    this.window = new ChangeWindow(newest.index, window, toldChange)
    this.#membership = newest.membership
    this.#appliedTerm = newest.term
  }

  get membership(): Membership {
    return this.#membership
  }

  get bytesSinceSnapshot(): number {
    return this.#bytesSinceSnapshot
  }

  /** In slices, so that a burst does not hold up the event loop. */
  apply(entries: readonly CommittedEntry[], done: () => void, from = 0): void {
    const { clock, turn } = this.#parts
    const until = clock.monotonicMs() + sliceMs
    for (let at = from; at < entries.length; ) {
      const committed = entries[at]
      if (committed !== undefined) this.#apply(committed)
      at += 1
      const isLarge = (committed?.entry.data.length ?? 0) > largeBytes
      if (at === entries.length || (at % clockEvery !== 0 && !isLarge) || clock.monotonicMs() < until) continue
      turn(() => this.apply(entries, done, at))
      return
    }
    done()
  }

  restore({ state, index, term, membership }: ArrivedSnapshot): void {
    this.state.become(state)
    this.#membership = membership
    this.#appliedTerm = term
    this.#bytesSinceSnapshot = 0
    this.window.skipTo(index)
  }

  /** Of the state as it is now. Does nothing while one is being taken. */
  snapshot(taker: SnapshotTaker): Promise<void> {
    this.#snapshotting ??= this.#takeSnapshot(taker).finally(() => {
      this.#snapshotting = undefined
    })
    return this.#snapshotting
  }

  /** Resolves when no snapshot is being taken. */
  async settled(): Promise<void> {
    await this.#snapshotting?.catch(() => undefined)
  }

  async #takeSnapshot(taker: SnapshotTaker): Promise<void> {
    if (this.state.index === 0) return
    this.#bytesSinceSnapshot = 0
    await this.#parts.snapshotter.take(this.state, this.#appliedTerm, this.#membership, taker)
  }

  #apply({ entry, membership }: CommittedEntry): void {
    const { state } = this
    // A snapshot has overtaken it.
    if (entry.index <= state.index) return
    const command = entry.type === 'normal' ? decodeCommand(entry.data) : noCommand
    const { answer, repeated } = applyOnce(state, command, entry.index)
    this.#appliedTerm = entry.term
    if (membership !== undefined) this.#membership = membership
    const { index, term, type } = entry
    const bytes = entry.data.length + entryOverheadBytes
    this.window.add({ index, term, data: type === 'normal' ? entry.data : noData, isRepeated: repeated, answer, bytes })
    this.#bytesSinceSnapshot += bytes
    this.#parts.onApplied(entry, answer)
  }
}

interface KeptChange {
  readonly index: number
  readonly term: number
  readonly data: Uint8Array
  /** Watchers derive events from changes: what was not applied again must not be told again. */
  readonly isRepeated: boolean
  readonly answer: Answer
  readonly bytes: number
}

function toldChange({ index, term, data, isRepeated, answer }: KeptChange): AppliedChange {
  const command = decodeCommand(data)
  const { session, seq, atMs } = command
  return { index, term, command: isRepeated ? completeMessage('Command', { session, seq, atMs }) : command, answer }
}

const noData = new Uint8Array()
const noCommand: Command = decodeMessage('Command', new Uint8Array())

/** The no-op of a new leader is an empty command; bytes that this build cannot read count as an unknown one. */
function decodeCommand(data: Uint8Array): Command {
  try {
    return decodeMessage('Command', data)
  } catch (e) {
    if (isFault(e)) return noCommand
    throw e
  }
}
