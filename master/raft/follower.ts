import { campaignIfAllowed } from './election.ts'
import { commitTo, lastIndexOf, lastIndexWithin, matches, maybeAppend, restoreLog } from './log.ts'
import { restoreMembership } from './membership.ts'
import { type Message, message } from './message.ts'
import { send, sendAppendResponse } from './outbox.ts'
import type { StepOutcome } from './outcome.ts'
import type { Raft } from './raft.ts'
import { nobody, type Snapshot } from './state.ts'

export function stepFollower(raft: Raft, m: Message): StepOutcome {
  switch (m.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      raft.electionElapsed = 0
      raft.leader = m.from
      handleLeaderMessage(raft, m)
      return 'ok'
    case 'propose':
      return raft.options.forwardProposals ? forwardToLeader(raft, m) : 'dropped'
    case 'read-index':
      return forwardToLeader(raft, m)
    case 'transfer-leader':
      return forwardToLeader(raft, m)
    case 'forget-leader':
      return forgetLeader(raft)
    case 'timeout-now':
      // The leader itself asks for it: a pre-vote would only cost a round trip.
      campaignIfAllowed(raft, 'transfer')
      return 'ok'
    case 'read-index-response':
      raft.readStates.push({ index: m.index, context: m.context })
      return 'ok'
    default:
      return 'ok'
  }
}

/** From the leader of this term, to a node that follows it by now. */
export function handleLeaderMessage(raft: Raft, m: Message): void {
  if (m.type === 'append') handleAppend(raft, m)
  else if (m.type === 'heartbeat') handleHeartbeat(raft, m)
  else handleSnapshot(raft, m)
}

function forwardToLeader(raft: Raft, m: Message): StepOutcome {
  if (raft.leader === nobody) return 'dropped'
  const forwarded = message(m.type, raft.leader)
  forwarded.from = m.from
  forwarded.entries = m.entries
  forwarded.context = m.context
  send(raft, forwarded)
  return 'ok'
}

/** A lease rests on followers that do not elect anybody before it is over, so with leases the leader cannot be forgotten. */
function forgetLeader(raft: Raft): StepOutcome {
  if (raft.options.reads === 'quorum') raft.leader = nobody
  return 'ok'
}

function handleAppend(raft: Raft, m: Message): void {
  const { log } = raft
  if (m.index < log.committed) {
    sendAppendResponse(raft, m.from, log.committed)
    return
  }
  const lastNew = maybeAppend(log, { term: m.logTerm, index: m.index }, m.entries, m.commit)
  if (lastNew !== undefined) {
    sendAppendResponse(raft, m.from, lastNew)
    return
  }
  // The logs do not meet at m.index. They cannot meet where our terms are higher than the leader's there either: skip all of it.
  const hint = lastIndexWithin(log, Math.min(m.index, lastIndexOf(log)), m.logTerm)
  const refusal = message('append-response', m.from)
  refusal.index = m.index
  refusal.reject = true
  refusal.rejectHint = hint.index
  refusal.logTerm = hint.term
  send(raft, refusal)
}

function handleHeartbeat(raft: Raft, m: Message): void {
  commitTo(raft.log, m.commit)
  const answer = message('heartbeat-response', m.from)
  answer.readRound = m.readRound
  send(raft, answer)
}

function handleSnapshot(raft: Raft, m: Message): void {
  const isRestored = m.snapshot !== undefined && restore(raft, m.snapshot)
  sendAppendResponse(raft, m.from, isRestored ? lastIndexOf(raft.log) : raft.log.committed)
}

function restore(raft: Raft, snapshot: Snapshot): boolean {
  const { log } = raft
  if (snapshot.index <= log.committed) return false
  const { voters, learners, votersOutgoing } = snapshot.confState
  // A snapshot without us was meant for a former holder of this id, or comes from a confused leader.
  if (![...voters, ...learners, ...votersOutgoing].includes(raft.options.id)) return false
  if (matches(log, snapshot.term, snapshot.index)) {
    // All of it is in the log already: only the commit index is news.
    commitTo(log, snapshot.index)
    return false
  }
  restoreLog(log, snapshot)
  restoreMembership(raft, snapshot.confState)
  return true
}
