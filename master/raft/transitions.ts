import { noData } from './entry.ts'
import { assert } from './invariant.ts'
import { lastIndexOf } from './log.ts'
import { becomeReplicate, newProgress } from './progress.ts'
import type { Raft } from './raft.ts'
import { newReadQueue } from './reads.ts'
import { appendProposals } from './replication.ts'
import { nobody } from './state.ts'

function reset(raft: Raft, term: number): void {
  if (raft.term !== term) {
    raft.term = term
    raft.vote = nobody
  }
  raft.leader = nobody
  raft.electionElapsed = 0
  raft.heartbeatElapsed = 0
  const { electionTicks, chance, id } = raft.options
  raft.randomizedElectionTicks = electionTicks + chance.between(0, electionTicks - 1)
  raft.transferee = nobody
  const { tracker } = raft
  tracker.votes.clear()
  const last = lastIndexOf(raft.log)
  for (const [peer, progress] of tracker.progress) {
    Object.assign(progress, newProgress(last + 1, progress.isLearner, tracker.limits))
    if (peer === id) progress.match = last
  }
  raft.pendingConfIndex = 0
  raft.uncommittedBytes = 0
  raft.reads = newReadQueue()
}

export function becomeFollower(raft: Raft, term: number, leader: number): void {
  reset(raft, term)
  raft.leader = leader
  raft.role = 'follower'
}

/** Neither term nor vote change: a pre-candidate has promised nothing to anybody. */
export function becomePreCandidate(raft: Raft): void {
  assert(raft.role !== 'leader', 'a leader asks for votes')
  raft.tracker.votes.clear()
  raft.leader = nobody
  raft.role = 'pre-candidate'
}

export function becomeCandidate(raft: Raft): void {
  assert(raft.role !== 'leader', 'a leader asks for votes')
  reset(raft, raft.term + 1)
  raft.vote = raft.options.id
  raft.role = 'candidate'
}

export function becomeLeader(raft: Raft): void {
  assert(raft.role !== 'follower', 'a follower leads without an election')
  reset(raft, raft.term)
  raft.leader = raft.options.id
  raft.role = 'leader'
  const own = raft.tracker.progress.get(raft.options.id)
  assert(own !== undefined, 'a leader that is no member')
  becomeReplicate(own)
  own.recentActive = true
  // The end of the log may hold a membership change. Looking for it could take long; waiting for all of it to be applied is safe.
  raft.pendingConfIndex = lastIndexOf(raft.log)
  // Without an entry of its own term a leader can commit nothing (the Raft paper, 5.4.2).
  assert(appendProposals(raft, [{ type: 'normal', data: noData }]), 'the first entry of a term was refused')
}
