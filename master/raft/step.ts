import { appliedTo } from './applying.ts'
import { stepCandidate } from './candidate.ts'
import { answerVoteRequest, campaignIfAllowed, learnCommit } from './election.ts'
import { entriesBytes, noData, payloadBytes } from './entry.ts'
import { stepFollower } from './follower.ts'
import { checkQuorum, proposeAsLeader, stepLeader } from './leader.ts'
import { isLocal, isResponse, isThread, type Message, message } from './message.ts'
import { send } from './outbox.ts'
import type { StepOutcome } from './outcome.ts'
import { isPromotable, type Raft } from './raft.ts'
import { broadcastHeartbeat } from './replication.ts'
import { nobody, type Snapshot } from './state.ts'
import { becomeFollower } from './transitions.ts'
import { markSnapshotStable, markStable } from './unstable.ts'

/** One unit of time has passed. */
export function tick(raft: Raft): void {
  if (raft.role === 'leader') tickLeader(raft)
  else if (++raft.electionElapsed >= raft.randomizedElectionTicks && isPromotable(raft)) {
    raft.electionElapsed = 0
    act(raft, message('campaign', nobody))
  }
}

function tickLeader(raft: Raft): void {
  raft.heartbeatElapsed++
  raft.electionElapsed++
  if (raft.electionElapsed >= raft.options.electionTicks) {
    raft.electionElapsed = 0
    if (raft.options.checkQuorum) checkQuorum(raft)
    // A transfer that has not happened by now will not: take proposals again.
    raft.transferee = nobody
  }
  if (raft.role !== 'leader' || raft.heartbeatElapsed < raft.options.heartbeatTicks) return
  raft.heartbeatElapsed = 0
  broadcastHeartbeat(raft)
}

/** A message of a peer, or the answer of one of the host's threads. Nothing else may come from outside. */
export function step(raft: Raft, m: Message): StepOutcome {
  if (!isThread(m.from)) {
    if (isLocal(m.type)) return 'local-message'
    if (isResponse(m.type) && !raft.tracker.progress.has(m.from)) return 'unknown-peer'
  }
  return act(raft, m)
}

/** As `step`, for what the host itself has to say: campaign, forget-leader, unreachable, snapshot-status, transfer-leader. */
export function act(raft: Raft, m: Message): StepOutcome {
  learnCommit(raft, m)
  if (m.term > raft.term && m.term !== 0) {
    if (isRefusedByLease(raft, m)) return 'ok'
    adoptTerm(raft, m)
  } else if (m.term < raft.term && m.term !== 0) {
    handleOldTerm(raft, m)
    return 'ok'
  }
  switch (m.type) {
    case 'campaign':
      campaignIfAllowed(raft, raft.options.preVote ? 'pre-election' : 'election')
      return 'ok'
    case 'vote':
    case 'pre-vote':
      answerVoteRequest(raft, m)
      return 'ok'
    case 'storage-append-response':
      if (m.index !== 0) markStable(raft.log.unstable, m.logTerm, m.index)
      if (m.snapshot !== undefined) appliedSnapshot(raft, m.snapshot)
      return 'ok'
    case 'storage-apply-response':
      appliedEntries(raft, m)
      return 'ok'
    default:
      return stepRole(raft, m)
  }
}

function stepRole(raft: Raft, m: Message): StepOutcome {
  if (raft.role === 'leader') return stepLeader(raft, m)
  return raft.role === 'follower' ? stepFollower(raft, m) : stepCandidate(raft, m)
}

/** Whoever hears from a leader neither grants a vote nor moves to the candidate's term, unless the leader itself asked for it. */
function isRefusedByLease(raft: Raft, m: Message): boolean {
  if ((m.type !== 'vote' && m.type !== 'pre-vote') || m.force) return false
  return raft.options.checkQuorum && raft.leader !== nobody && raft.electionElapsed < raft.options.electionTicks
}

function adoptTerm(raft: Raft, m: Message): void {
  // A pre-vote is about a term that nobody is in yet.
  if (m.type === 'pre-vote' || (m.type === 'pre-vote-response' && !m.reject)) return
  const isFromLeader = m.type === 'append' || m.type === 'heartbeat' || m.type === 'snapshot'
  becomeFollower(raft, m.term, isFromLeader ? m.from : nobody)
}

function handleOldTerm(raft: Raft, m: Message): void {
  const { checkQuorum: withQuorum, preVote } = raft.options
  if ((withQuorum || preVote) && (m.type === 'heartbeat' || m.type === 'append')) {
    // An old leader that nobody may depose by a vote: our term in any answer does it.
    send(raft, message('append-response', m.from))
  } else if (m.type === 'pre-vote') {
    // Silence could lock up a cluster whose longest log is at a lower term.
    const refusal = message('pre-vote-response', m.from)
    refusal.term = raft.term
    refusal.reject = true
    send(raft, refusal)
  } else if (m.type === 'storage-append-response' && m.snapshot !== undefined) {
    // Entries written in an old term may have been replaced since; what a snapshot holds is committed, whatever the term.
    appliedSnapshot(raft, m.snapshot)
  }
}

function appliedSnapshot(raft: Raft, snapshot: Snapshot): void {
  markSnapshotStable(raft.log.unstable, snapshot.index)
  advanceApplied(raft, snapshot.index, 0)
}

function appliedEntries(raft: Raft, m: Message): void {
  const last = m.entries.at(-1)
  if (last === undefined) return
  advanceApplied(raft, last.index, entriesBytes(m.entries))
  raft.uncommittedBytes = Math.max(0, raft.uncommittedBytes - payloadBytes(m.entries))
}

function advanceApplied(raft: Raft, index: number, bytes: number): void {
  const { log, tracker } = raft
  appliedTo(log, Math.max(index, log.applied), bytes)
  // Tried again with each entry, so it does not matter if a transfer or a lost leadership is in the way now.
  if (tracker.config.autoLeave && raft.role === 'leader' && log.applied >= raft.pendingConfIndex) {
    proposeAsLeader(raft, [{ type: 'conf-change-v2', data: noData }])
  }
}
