import { join } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { decodeConfChange } from '../raft/conf-change-codec.ts'
import type { Entry, Proposal } from '../raft/entry.ts'
import { lastIndexOf } from '../raft/log.ts'
import { applyConfChange } from '../raft/membership.ts'
import { appendThread, applyThread, type Message, message } from '../raft/message.ts'
import { newRaft } from '../raft/node.ts'
import type { Chance, Raft, RaftOptions } from '../raft/raft.ts'
import { hasReady, takeReady } from '../raft/ready.ts'
import type { Snapshot } from '../raft/state.ts'
import { act, step as stepRaft, tick } from '../raft/step.ts'
import { isSingleton } from '../raft/tracker.ts'
import type { Disk } from '../store/disk.ts'
import { snapshotBytes } from '../store/snapshots.ts'
import { decodeArrived } from './arrival.ts'
import { DiskWatch, handOver } from './disk-watch.ts'
import { LogStore, type LogStoreConfig, type SnapshotFacts } from './log-store.ts'
import type { Membership } from './membership.ts'
import { changedMembership } from './membership.ts'
import type { ArrivedSnapshot, CommittedEntry, ConsensusEvents, PeerTransport, Placed } from './port.ts'
import { ReadDesk } from './read-desk.ts'

export interface HostParts {
  readonly disk: Disk
  readonly log: Log
  readonly chance: Chance
  readonly transport: PeerTransport
  /** Runs the work after everything that is at hand now: what comes in one turn of the event loop goes out together. */
  readonly turn: (work: () => void) => void
  /** Told of a broken invariant: the process must end. */
  readonly onBroken: (error: unknown) => void
}

export interface HostConfig extends LogStoreConfig {
  /** How the core is set up, but for what follows from this program. */
  readonly core: Omit<RaftOptions, 'id' | 'chance' | keyof typeof fixedOptions>
}

const fixedOptions = {
  asyncStorageWrites: true,
  forwardProposals: false,
  stepDownOnRemoval: true,
  tellCommitInVotes: true,
  tellCommitsAtOnce: false
} as const

/**
 * Keeps the core busy: takes its bundles of work, has the log write and the state machine apply, sends messages when what they
 * promise is durable, and hands back every answer. It has no timer: `tick` is called from outside.
 */
export class RaftHost {
  readonly store: LogStore
  readonly #parts: HostParts
  readonly #config: HostConfig
  readonly #events: ConsensusEvents
  readonly #reads: ReadDesk
  readonly #disks: DiskWatch
  /** What came in the snapshot that the core is about to have installed. */
  readonly #arrived = new WeakMap<Snapshot, ArrivedSnapshot>()
  /** Index of the snapshot that is being decoded. */
  #arriving: number | undefined
  #raft: Raft | undefined
  #membership: Membership
  #applying: Message[] = []
  #isApplying = false
  #isPumping = false
  #isTurnAsked = false
  #outbox: Message[] = []

  constructor(parts: HostParts, config: HostConfig, events: ConsensusEvents, newest: SnapshotFacts) {
    this.#parts = parts
    this.#config = config
    this.#events = events
    this.#membership = newest.membership
    this.store = new LogStore({ ...parts, onSnapshotWanted: () => events.snapshotWanted() }, config, newest)
    const draw = (): number => parts.chance.between(0, 0x7fff_ffff)
    this.#reads = new ReadDesk(config.raftId, `${draw()}.${draw()}`)
    this.#disks = new DiskWatch(this.store, config.core.electionTicks)
  }

  /** Undefined before `open` and after the end. Look at it, never step it. */
  get raft(): Raft | undefined {
    return this.#raft
  }

  /** As far as it is applied. */
  get membership(): Membership {
    return this.#membership
  }

  get raftId(): number {
    return this.#config.raftId
  }

  /** What is proposed now would be written after what is being written; `stored` is told when it is not so any more. */
  get isWriting(): boolean {
    return this.#disks.isWriting
  }

  /** Recovers the log and, where this master is the only voter, begins to stand. */
  async open(): Promise<void> {
    this.store.wal.onFailure((failure) => this.#fail(failure))
    await this.store.open()
    const { core, raftId } = this.#config
    this.#raft = newRaft(
      { ...core, ...fixedOptions, id: raftId, chance: this.#parts.chance },
      this.store,
      this.store.newest.index
    )
    this.#parts.transport.membersAre(this.#membership.members)
    this.#work((raft) => this.#standAlone(raft))
  }

  tick(): void {
    this.#work((raft) => {
      // A leader whose disk hangs must not keep its followers from electing another: it falls silent.
      const isStuck = this.#disks.tick(raft)
      if (!isStuck) tick(raft)
      this.#reads.tick(raft, this.#config.core.electionTicks)
    })
  }

  propose(proposals: readonly Proposal[], answer: (placed: Placed) => void): void {
    if (this.#raft === undefined) {
      answer(undefined)
      return
    }
    this.#work((raft) => {
      let placed: Placed
      const firstIndex = lastIndexOf(raft.log) + 1
      const m = message('propose', 0)
      m.entries = proposals.map(({ type, data }) => ({ term: 0, index: 0, type, data }))
      if (act(raft, m) === 'ok' && raft.role === 'leader') placed = { firstIndex, term: raft.term }
      answer(placed)
    })
  }

  read(reads: readonly number[]): void {
    this.#work((raft) => this.#reads.ask(raft, reads))
  }

  /** From a peer. A snapshot brings its bytes; one that is damaged is as good as lost. */
  receive(m: Message): void {
    if (this.#raft === undefined) return
    if (m.snapshot !== undefined) this.#arrive(m, m.snapshot)
    // Without room for entries there is still room for votes: not to answer is to lag, and the leader sees it.
    else if (m.type !== 'append' || m.entries.length === 0 || !this.store.wal.isFull) this.#gather((raft) => stepRaft(raft, m))
  }

  /** What this program itself has to say: campaign, forget-leader, transfer-leader. */
  tell(m: Message): void {
    this.#gather((raft) => act(raft, m))
  }

  /** Hands leadership to that voter, or to the one that lacks least; false where it, or every other, does not answer. */
  handOver(to?: number): boolean {
    let isAsked = false
    this.#work((raft) => {
      isAsked = raft.role === 'leader' && handOver(raft, to)
    })
    return isAsked
  }

  async close(): Promise<void> {
    this.#raft = undefined
    await this.store.close()
  }

  #gather(work: (raft: Raft) => unknown): void {
    const { turn } = this.#parts
    this.#guard(work)
    if (this.#isTurnAsked) return
    this.#isTurnAsked = true
    turn(() => {
      this.#isTurnAsked = false
      this.#work(() => undefined)
    })
  }

  #work(work: (raft: Raft) => unknown): void {
    this.#guard((raft) => {
      work(raft)
      if (!this.#isPumping) this.#pump(raft)
    })
  }

  #guard(work: (raft: Raft) => unknown): void {
    if (this.#raft === undefined) return
    try {
      work(this.#raft)
    } catch (error) {
      this.#raft = undefined
      this.#parts.onBroken(error)
    }
  }

  #pump(raft: Raft): void {
    this.#isPumping = true
    try {
      while (hasReady(raft)) {
        const { softState, readStates, messages } = takeReady(raft)
        if (softState !== undefined) this.#events.standing({ ...softState, term: raft.term })
        for (const m of messages) this.#dispatch(m)
        for (const { context, index } of readStates) {
          for (const read of this.#reads.answered(context)) this.#events.readable(read, index)
        }
      }
    } finally {
      this.#isPumping = false
    }
    const outbox = this.#outbox
    this.#outbox = []
    if (outbox.length > 0) this.#parts.transport.send(outbox)
  }

  #dispatch(m: Message): void {
    if (m.to === appendThread) this.#write(m)
    else if (m.to === applyThread) {
      this.#applying.push(m)
      this.#applyNext()
    } else if (m.type === 'snapshot' && m.snapshot !== undefined) this.#sendSnapshot(m, m.snapshot)
    else this.#outbox.push(m)
  }

  #write(m: Message): void {
    const arrived = m.snapshot === undefined ? undefined : this.#arrived.get(m.snapshot)
    const written = this.store.write(m, arrived?.membership)
    this.#disks.began()
    written.then(
      () =>
        this.#work((raft) => {
          this.#disks.ended()
          if (arrived !== undefined) this.#restored(arrived)
          for (const response of m.responses) this.#respond(raft, response)
          if (!this.#disks.isWriting) this.#events.stored()
        }),
      (error: unknown) => this.#fail(this.#notStored(error))
    )
  }

  #restored(arrived: ArrivedSnapshot): void {
    this.#membership = arrived.membership
    this.#parts.transport.membersAre(this.#membership.members)
    this.#events.restore(arrived)
  }

  #respond(raft: Raft, m: Message): void {
    if (m.to === this.#config.raftId) stepRaft(raft, m)
    else this.#outbox.push(m)
  }

  #applyNext(): void {
    const m = this.#isApplying ? undefined : this.#applying.shift()
    const last = m?.entries.at(-1)
    if (m === undefined || last === undefined) return
    this.#isApplying = true
    const committed = m.entries.map((entry): CommittedEntry => ({ entry, membership: this.#changeMembers(entry) }))
    this.#events.apply(committed, () =>
      this.#work((raft) => {
        this.#isApplying = false
        this.store.applied(Math.min(last.index, this.store.lastIndex()))
        for (const response of m.responses) this.#respond(raft, response)
        this.#standAlone(raft)
        this.#applyNext()
      })
    )
  }

  #changeMembers(entry: Entry): Membership | undefined {
    const raft = this.#raft
    const change = entry.type === 'normal' ? undefined : decodeConfChange(entry.type, entry.data)
    if (change === undefined || raft === undefined) return undefined
    const { confState, refused } = applyConfChange(raft, change)
    if (confState === undefined) return undefined
    if (refused !== undefined) this.#parts.log.warn({ refused, index: entry.index }, 'raft.membership_refused')
    else this.#membership = changedMembership(this.#membership, confState, change.context)
    this.#parts.transport.membersAre(this.#membership.members)
    return this.#membership
  }

  /** The only voter has nobody to wait for, but its own log. */
  #standAlone(raft: Raft): void {
    const isAlone = isSingleton(raft.tracker.config) && raft.tracker.progress.has(this.#config.raftId)
    if (isAlone && raft.role === 'follower') act(raft, message('campaign', 0))
  }

  #sendSnapshot(m: Message, { index, term }: Snapshot): void {
    const { disk, transport, log } = this.#parts
    const report = (isDelivered: boolean): void => {
      const status = message('snapshot-status', 0)
      status.from = m.to
      status.reject = !isDelivered
      this.tell(status)
    }
    snapshotBytes(disk, this.#snapshots, index)
      .then((bytes) => transport.sendSnapshot(m, bytes))
      .then(
        () => report(true),
        (error: unknown) => {
          log.warn({ error, to: m.to, index, term }, 'raft.snapshot_not_sent')
          report(false)
        }
      )
  }

  /** The core hears of it when all of it is decoded; what comes meanwhile overtakes it. */
  #arrive(m: Message, snapshot: Snapshot): void {
    if (this.#arriving === snapshot.index) return
    this.#arriving = snapshot.index
    const decoding = decodeArrived(snapshot, this.#config.clusterId)
    const goOn = (): void => {
      const step = this.#raft === undefined ? undefined : this.#decode(decoding, snapshot.index)
      if (step === undefined) this.#arriving = undefined
      else if (step.done !== true) this.#parts.turn(goOn)
      else {
        this.#arriving = undefined
        this.#arrived.set(snapshot, step.value)
        this.#gather((raft) => stepRaft(raft, m))
      }
    }
    goOn()
  }

  #decode(decoding: ReturnType<typeof decodeArrived>, index: number): IteratorResult<undefined, ArrivedSnapshot> | undefined {
    try {
      return decoding.next()
    } catch (error) {
      if (!isFault(error)) throw error
      this.#parts.log.warn({ error, index }, 'raft.snapshot_damaged')
      return undefined
    }
  }

  /** The core takes for granted that what it handed out gets stored: without it this master cannot go on. */
  #notStored(cause: unknown): Fault {
    if (isFault(cause)) return cause
    const { directory } = this.#config
    const what = errnoOf(cause) ?? String(cause)
    const message = `${directory} could not take what another master sent (${what}): check the disk, then start this master again`
    return new Fault('unavailable', message, { directory }, cause)
  }

  #fail(failure: Fault): void {
    if (this.#raft === undefined) return
    this.#raft = undefined
    this.#events.failed(failure)
  }

  get #snapshots(): string {
    return join(this.#config.directory, 'snapshots')
  }
}
