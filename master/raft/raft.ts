import type { Log } from './log.ts'
import type { Message } from './message.ts'
import type { ReadQueue } from './reads.ts'
import type { HardState, ReadState, Role, SoftState } from './state.ts'
import type { Tracker } from './tracker.ts'

/** Chance is an argument: the same draws make the same run. */
export interface Chance {
  /** An integer in [low, high]. */
  between(low: number, high: number): number
}

export interface RaftOptions {
  readonly id: number
  readonly chance: Chance
  /** A follower that has heard from no leader for this long, and up to twice as long, asks for votes. */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  /** Ask first whether an election could be won, and disturb nobody if not. */
  readonly preVote: boolean
  /** A leader that a quorum does not answer steps down; who hears from a leader grants nobody a vote. */
  readonly checkQuorum: boolean
  /** `lease` trusts clocks: reads are answered without asking anybody. Only with `checkQuorum`. */
  readonly reads: 'quorum' | 'lease'
  /** Entries of one append, in bytes as they are encoded. One entry always goes. */
  readonly maxMessageBytes: number
  readonly maxInflightMessages: number
  readonly maxInflightBytes: number
  /** Payload that waits for a quorum; beyond it proposals are dropped, except where nothing waits. */
  readonly maxUncommittedBytes: number
  /** Committed entries that the state machine may have at a time, in bytes as they are encoded. */
  readonly maxApplyingBytes: number
  /** Reads that wait for a quorum; beyond it they are dropped. */
  readonly maxWaitingReads: number
  readonly forwardProposals: boolean
  readonly stepDownOnRemoval: boolean
  /**
   * Votes and their answers tell what is committed. Without it an election can hang for ever where a leader has stepped down with the
   * change that removed it: who has the longest log may not know that this change is committed, and asks by the old configuration.
   */
  readonly tellCommitInVotes: boolean
  /**
   * Each commit is told to every follower by an append of its own. Without it whatever goes there next tells it, the next heartbeat
   * at the latest; but a commit that may hold a membership change is still told at once, and so is what a follower reads.
   */
  readonly tellCommitsAtOnce: boolean
  /** Refuse membership changes that the applied configuration does not allow. Off only to test that apply does so too. */
  readonly validateConfChanges: boolean
  /** Writes and applies become messages to the threads of the host, who answers when they are done. */
  readonly asyncStorageWrites: boolean
}

/**
 * One node: plain data, moved by the functions of this folder alone. It has no clock, socket or file: ticks, messages and
 * acknowledgements go in through step.ts, and one bundle of work comes out of ready.ts.
 *
 *     follower -- election timeout --> pre-candidate -- quorum would grant --> candidate -- quorum granted --> leader
 *     pre-candidate, candidate -- lost, or a leader appears --> follower
 *     any -- higher term, no quorum, removed --> follower
 */
export interface Raft {
  readonly options: RaftOptions
  readonly log: Log
  readonly tracker: Tracker
  term: number
  vote: number
  role: Role
  leader: number
  electionElapsed: number
  heartbeatElapsed: number
  randomizedElectionTicks: number
  /** Who is to become leader, 0 for nobody; proposals are dropped meanwhile. */
  transferee: number
  /** No membership change is accepted before this index is applied. */
  pendingConfIndex: number
  uncommittedBytes: number
  reads: ReadQueue
  readStates: ReadState[]
  messages: Message[]
  /** To be sent after everything that is unstable now is on disk: votes and acknowledgements. */
  messagesAfterAppend: Message[]
  lastSoftState: SoftState
  lastHardState: HardState
  /** What the node tells itself when the host has done the last bundle (synchronous writes only). */
  stepsOnAdvance: Message[]
}

export const isMember = (raft: Raft): boolean => raft.tracker.progress.has(raft.options.id)

/** Only a voter that is not busy installing a snapshot can lead. */
export function isPromotable(raft: Raft): boolean {
  const own = raft.tracker.progress.get(raft.options.id)
  return own !== undefined && !own.isLearner && raft.log.unstable.snapshot === undefined
}
