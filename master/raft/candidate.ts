import { campaign } from './election.ts'
import { handleLeaderMessage } from './follower.ts'
import type { Message } from './message.ts'
import type { StepOutcome } from './outcome.ts'
import type { Raft } from './raft.ts'
import { broadcastAppend } from './replication.ts'
import { nobody } from './state.ts'
import { recordVote } from './tracker.ts'
import { becomeFollower, becomeLeader } from './transitions.ts'

/** Candidates and pre-candidates differ in whose answers they count. */
export function stepCandidate(raft: Raft, m: Message): StepOutcome {
  switch (m.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      // Somebody else has won this term.
      becomeFollower(raft, m.term, m.from)
      handleLeaderMessage(raft, m)
      return 'ok'
    case 'propose':
    case 'read-index':
    case 'transfer-leader':
      return 'dropped'
    case 'vote-response':
      if (raft.role === 'candidate') countVote(raft, m)
      return 'ok'
    case 'pre-vote-response':
      if (raft.role === 'pre-candidate') countVote(raft, m)
      return 'ok'
    default:
      return 'ok'
  }
}

function countVote(raft: Raft, m: Message): void {
  const result = recordVote(raft.tracker, m.from, !m.reject)
  if (result === 'lost') becomeFollower(raft, raft.term, nobody)
  if (result !== 'won') return
  if (raft.role === 'pre-candidate') {
    campaign(raft, 'election')
    return
  }
  becomeLeader(raft)
  broadcastAppend(raft)
}
