import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { completeMessage, encodeMessage } from '../../proto/codec.ts'
import type { Answer } from '../../proto/gen/messages.ts'
import type { ConfChangeSingle } from '../raft/conf-change.ts'
import { encodeConfChange } from '../raft/conf-change-codec.ts'
import type { Entry } from '../raft/entry.ts'
import type { AppliedChange, Leadership, ProposeOutcome, Replica, ReplicaCommand } from '../replica.ts'
import { type ClusterState, highestFeatureLevel } from '../state/cluster.ts'
import type { WindowLimits } from '../store/change-window.ts'
import { LeadershipBoard } from '../store/leadership-board.ts'
import { CommandMemory } from './command-memory.ts'
import type { Figures } from './figures.ts'
import type { RaftHost } from './host.ts'
import type { SnapshotFacts } from './log-store.ts'
import type { Member, Membership } from './membership.ts'
import { encodeNewcomers } from './membership.ts'
import { PendingProposals } from './pending-proposals.ts'
import { PendingReads } from './pending-reads.ts'
import type { ArrivedSnapshot, ConsensusEvents, Standing } from './port.ts'
import type { Snapshotter } from './snapshotter.ts'
import { StateMachine } from './state-machine.ts'

interface ReplicaParts {
  readonly log: Log
  readonly clock: Clock
  readonly turn: (work: () => void) => void
  readonly snapshotter: Snapshotter
  readonly figures?: Figures
}

export interface ReplicaConfig {
  readonly directory: string
  readonly clusterId: string
  readonly snapshotEveryBytes: number
  readonly maxCommandBytes: number
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
  readonly window: WindowLimits
}

/** All fields: what is encoded has one shape then, whatever kind it is, which is a quarter of the work. */
const blank = completeMessage('Command', {})

/** How long a stop waits for what is on its way. */
const drainMs = 1_000

/** Commands in, answers out: the replicated state behind one of any number of masters. */
export class RaftReplica implements Replica {
  readonly events: ConsensusEvents
  readonly #parts: ReplicaParts
  readonly #config: ReplicaConfig
  readonly #machine: StateMachine
  readonly #board = new LeadershipBoard()
  readonly #proposals = new PendingProposals()
  readonly #memory = new CommandMemory()
  readonly #reads = new PendingReads()
  readonly #fatal: ((failure: Fault) => void)[] = []
  #host: RaftHost | undefined
  #standing: Standing = { role: 'follower', term: 0, leader: 0 }
  #phase: 'serving' | 'stopping' | 'failed' = 'serving'
  #failure: Fault | undefined
  #turnFor: 'nothing' | 'proposals' | 'reads' | 'both' = 'nothing'
  /** What is gathered waits for the write under way. */
  #isHeld = false
  #lastAtMs: number

  constructor(parts: ReplicaParts, config: ReplicaConfig, state: ClusterState, newest: SnapshotFacts) {
    this.#parts = parts
    this.#config = config
    const onApplied = (entry: Entry, answer: Answer): void => this.#applied(entry, answer)
    this.#machine = new StateMachine({ ...parts, onApplied }, state, newest, config.window)
    this.#lastAtMs = state.atMs
    this.events = {
      apply: (entries, done) =>
        this.#machine.apply(entries, () => {
          done()
          this.#considerSnapshot()
        }),
      stored: () => this.#proposeHeld(),
      restore: (snapshot) => this.#restore(snapshot),
      standing: (standing) => this.#standsAs(standing),
      readable: (read, index) => {
        this.#reads.readable(read, index)
        this.#reads.applied(this.state.index)
      },
      snapshotWanted: () => this.#startSnapshot(),
      failed: (failure) => this.#fail(failure)
    }
  }

  get state(): ClusterState {
    return this.#machine.state
  }

  get leadership(): Leadership {
    return this.#board
  }

  get machine(): StateMachine {
    return this.#machine
  }

  /** Whom to propose to: once, before anything else. */
  serve(host: RaftHost): void {
    this.#host = host
  }

  async propose(session: string, seq: number, command: ReplicaCommand, signal: AbortSignal): Promise<ProposeOutcome> {
    if (this.#phase === 'stopping') return refusal('stopping', 'this master is stopping')
    if (!this.#board.leading) return this.#notLeader()
    if (signal.aborted) return { kind: 'unknown' }
    const atMs = Math.max(this.#lastAtMs, this.#parts.clock.wallMs())
    const encoded = encodeMessage('Command', { ...blank, ...command, session, seq, atMs })
    const refused = this.#admission(command, encoded.length)
    if (refused !== undefined) return refused
    const data = this.#memory.keep(encoded)
    this.#lastAtMs = atMs
    const sinceMs = this.#parts.clock.monotonicMs()
    const outcome = this.#proposals.add({ type: 'normal', data }, signal)
    this.#askForTurn('proposals')
    const settled = await outcome
    if (settled.kind === 'applied') this.#parts.figures?.commit.observe(this.#parts.clock.monotonicMs() - sinceMs)
    return settled
  }

  /**
   * Resolves with the members from then on. Throws `Fault('not-leader')`; `Fault('conflict')` where another change is under way or
   * this one is not legal; `Fault('unavailable')` where nobody can tell what became of it.
   */
  async changeMembers(changes: readonly ConfChangeSingle[], newcomers: readonly Member[]): Promise<Membership> {
    if (!this.#board.leading) throw new Fault('not-leader', 'only the leader changes the members')
    const context = encodeNewcomers(newcomers)
    const outcome = this.#proposals.add(encodeConfChange({ transition: 'auto', changes, context }))
    this.#askForTurn('proposals')
    const { kind } = await outcome
    if (kind !== 'applied')
      throw new Fault('unavailable', `the change of the members is ${kind}: look at them before you repeat it`)
    const { membership } = this.#machine
    if (changes.every((change) => isCarriedOut(change, membership))) return membership
    throw new Fault('conflict', 'the members are being changed already, or may not be changed so: try again in a moment')
  }

  read(signal: AbortSignal): Promise<number> {
    if (signal.aborted) return Promise.reject(signal.reason as Error)
    if (this.#phase === 'failed') return Promise.reject(new Fault('unavailable', 'the log of this master has failed'))
    if (this.#phase === 'stopping') return Promise.reject(new Fault('unavailable', 'this master is stopping'))
    const index = this.#reads.add(signal)
    this.#askForTurn('reads')
    return index
  }

  changes(fromIndex: number, signal: AbortSignal): AsyncIterable<AppliedChange> {
    return this.#machine.window.read(fromIndex, signal)
  }

  onFatal(listener: (failure: Fault) => void): void {
    if (this.#failure === undefined) this.#fatal.push(listener)
    else listener(this.#failure)
  }

  snapshot(): Promise<void> {
    const host = this.#host
    // Who takes part is not known while a snapshot of another master overtakes the log.
    if (host?.raft === undefined || host.raft.log.unstable.snapshot !== undefined) return Promise.resolve()
    const { store } = host
    return this.#machine.snapshot({
      releaseReserve: () => store.wal.releaseReserve(),
      taken: (facts) => store.snapshotTaken(facts)
    })
  }

  /** What comes later is refused; what is on its way is decided first, where that does not take too long. */
  async close(): Promise<void> {
    if (this.#phase === 'serving') this.#phase = 'stopping'
    this.#board.lose()
    const over = new AbortController()
    const patience = this.#parts.clock.sleep(drainMs, over.signal).catch(() => undefined)
    await Promise.race([this.#proposals.drained(), patience])
    over.abort()
    this.#proposals.forgetAll()
    this.#reads.rejectAll(new Fault('unavailable', 'this master is stopping'))
    await this.#machine.settled()
    if (this.#phase !== 'failed') this.#machine.window.close()
  }

  #askForTurn(work: 'proposals' | 'reads'): void {
    const isAsked = this.#turnFor !== 'nothing'
    this.#turnFor = this.#turnFor === 'nothing' || this.#turnFor === work ? work : 'both'
    if (!isAsked) this.#parts.turn(() => this.#takeTurn())
  }

  /** All that came in one turn of the event loop is one batch to the log, and one question to the leader. */
  #takeTurn(): void {
    const host = this.#host
    const work = this.#turnFor
    this.#turnFor = 'nothing'
    if (host === undefined) return
    if (work !== 'reads') this.#propose(host)
    if (work !== 'proposals') host.read([this.#reads.takeGathered()])
  }

  /** What comes while the log is being written could not be written before that anyway: it goes on as one batch. */
  #propose(host: RaftHost): void {
    this.#isHeld = host.isWriting
    if (this.#isHeld) return
    const { proposals, answer } = this.#proposals.takeGathered()
    if (proposals.length > 0) host.propose(proposals, (placed) => answer(placed, this.#notTaken()))
  }

  #proposeHeld(): void {
    if (this.#isHeld && this.#host !== undefined) this.#propose(this.#host)
  }

  #notTaken(): ProposeOutcome {
    return this.#board.leading ? refusal('overloaded', 'the log takes no commands just now: try again') : this.#notLeader()
  }

  #notLeader(): ProposeOutcome {
    const leader = this.#machine.membership.members.find((member) => member.raftId === this.#standing.leader)
    return { kind: 'not-leader', hint: this.#phase === 'failed' ? '' : (leader?.nodeId ?? '') }
  }

  #admission(command: ReplicaCommand, bytes: number): ProposeOutcome | undefined {
    const { maxCommandBytes, maxInFlight, maxInFlightBytes, directory } = this.#config
    if ((command.raiseFeatureLevel?.level ?? 0) > highestFeatureLevel) {
      throw new Fault('unsupported', `this master knows feature levels up to ${highestFeatureLevel}: upgrade every master first`)
    }
    if (bytes > maxCommandBytes)
      return refusal('too-large', `a command of ${bytes} bytes is over the limit of ${maxCommandBytes}`)
    const { count, bytes: inFlightBytes } = this.#proposals
    if (count >= maxInFlight || inFlightBytes + bytes > maxInFlightBytes) {
      return refusal('overloaded', `${count} commands are in flight: try again in a moment`)
    }
    if (this.#host?.store.wal.isFull !== true) return undefined
    this.#seekSpace()
    return refusal('disk-full', `the disk of ${directory} is full: free some space`)
  }

  /** What a snapshot frees may be enough; where one was tried since the last command, only the operator can help. */
  #seekSpace(): void {
    if (this.#machine.bytesSinceSnapshot > 0) this.#startSnapshot()
    else this.#host?.store.wal.relieve()
  }

  #applied({ index, term, type }: Entry, answer: Answer): void {
    if (this.state.featureLevel > highestFeatureLevel) this.#fail(tooOld(this.state))
    this.#proposals.applied(index, term, answer)
    this.#reads.applied(index)
    const { role, term: ownTerm } = this.#standing
    if (role !== 'leader' || term !== ownTerm || this.#board.leading || this.#phase !== 'serving' || type !== 'normal') return
    // Something of the own term is applied: all that was acknowledged before is in the state.
    if (this.state.clusterId === '') this.#nameCluster()
    else this.#lead(ownTerm)
  }

  #nameCluster(): void {
    const atMs = Math.max(this.#lastAtMs, this.#parts.clock.wallMs())
    const data = encodeMessage('Command', { atMs, initCluster: { clusterId: this.#config.clusterId } })
    this.#parts.turn(() => this.#host?.propose([{ type: 'normal', data }], () => undefined))
  }

  #lead(term: number): void {
    this.#lastAtMs = Math.max(this.#lastAtMs, this.state.atMs)
    this.#parts.log.info({ term, index: this.state.index, clusterId: this.state.clusterId }, 'replica.leading')
    this.#board.gain(term)
  }

  #standsAs(standing: Standing): void {
    const before = this.#standing
    this.#standing = standing
    const { figures } = this.#parts
    if (figures !== undefined && standing.role === 'candidate' && before.term !== standing.term) figures.elections += 1
    if (figures !== undefined && standing.role === 'leader' && before.role !== 'leader') figures.terms += 1
    if (before.role === 'leader' && (standing.role !== 'leader' || standing.term !== before.term)) {
      if (this.#board.leading) this.#parts.log.info({ term: before.term }, 'replica.lost_leadership')
      this.#board.lose()
      this.#proposals.forgetAll()
    }
  }

  #restore(snapshot: ArrivedSnapshot): void {
    this.#machine.restore(snapshot)
    if (this.state.featureLevel > highestFeatureLevel) this.#fail(tooOld(this.state))
    this.#reads.applied(snapshot.index)
  }

  #considerSnapshot(): void {
    if (this.#phase === 'serving' && this.#machine.bytesSinceSnapshot >= this.#config.snapshotEveryBytes) this.#startSnapshot()
  }

  #startSnapshot(): void {
    this.snapshot().catch((error: unknown) => this.#parts.log.error({ error }, 'replica.snapshot_failed'))
  }

  #fail(failure: Fault): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#phase = 'failed'
    this.#board.lose()
    this.#proposals.forgetAll()
    this.#reads.rejectAll(new Fault('unavailable', 'the log of this master has failed'))
    this.#machine.window.close(failure)
    for (const listener of this.#fatal) listener(failure)
  }
}

/** It would apply what comes otherwise than the others do. */
export const tooOld = ({ featureLevel }: ClusterState): Fault =>
  new Fault('unsupported', `the cluster is at feature level ${featureLevel}; this build knows ${highestFeatureLevel}: upgrade it`)

function isCarriedOut({ type, nodeId }: ConfChangeSingle, { voters, learners, learnersNext }: Membership): boolean {
  if (type === 'add-voter') return voters.includes(nodeId)
  if (type === 'add-learner') return learners.includes(nodeId) || learnersNext.includes(nodeId)
  return type === 'update' || !(voters.includes(nodeId) || learners.includes(nodeId))
}

type RefusalReason = Extract<ProposeOutcome, { readonly kind: 'refused' }>['reason']

const refusal = (reason: RefusalReason, message: string): ProposeOutcome => ({ kind: 'refused', reason, message })
