import { appliedTo } from './applying.ts'
import { assert } from './invariant.ts'
import { lastIndexOf, newLog } from './log.ts'
import { restoreMembership } from './membership.ts'
import type { Raft, RaftOptions } from './raft.ts'
import { newReadQueue } from './reads.ts'
import { type HardState, nobody } from './state.ts'
import type { Storage } from './storage.ts'
import { newTracker } from './tracker.ts'
import { becomeFollower } from './transitions.ts'

/** A node as it comes back from its disk. `applied` is how far the state machine has got, 0 for no further than the snapshot. */
export function newRaft(options: RaftOptions, storage: Storage, applied: number): Raft {
  assert(options.id > 0 && Number.isSafeInteger(options.id), `${options.id} is no id of a node`)
  assert(
    options.electionTicks > options.heartbeatTicks && options.heartbeatTicks > 0,
    'elections start before heartbeats can come'
  )
  assert(options.reads === 'quorum' || options.checkQuorum, 'a lease without a check of the quorum')
  const { hardState, confState } = storage.initialState()
  const raft: Raft = {
    options,
    log: newLog(storage, options.maxApplyingBytes),
    tracker: newTracker({ maxMessages: options.maxInflightMessages, maxBytes: options.maxInflightBytes }),
    term: 0,
    vote: nobody,
    role: 'follower',
    leader: nobody,
    electionElapsed: 0,
    heartbeatElapsed: 0,
    randomizedElectionTicks: options.electionTicks,
    transferee: nobody,
    pendingConfIndex: 0,
    uncommittedBytes: 0,
    reads: newReadQueue(),
    readStates: [],
    messages: [],
    messagesAfterAppend: [],
    lastSoftState: { leader: nobody, role: 'follower' },
    lastHardState: { term: 0, vote: nobody, commit: 0 },
    stepsOnAdvance: []
  }
  restoreMembership(raft, confState)
  if (hardState !== undefined) loadHardState(raft, hardState)
  if (applied > 0) appliedTo(raft.log, applied, 0)
  becomeFollower(raft, raft.term, nobody)
  raft.lastHardState = { term: raft.term, vote: raft.vote, commit: raft.log.committed }
  return raft
}

function loadHardState(raft: Raft, { term, vote, commit }: HardState): void {
  const { log } = raft
  const last = lastIndexOf(log)
  assert(commit >= log.committed && commit <= last, `stored commit ${commit} is outside ${log.committed} to ${last}`)
  log.committed = commit
  raft.term = term
  raft.vote = vote
}
