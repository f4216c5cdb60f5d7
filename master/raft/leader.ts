import { decodeConfChange } from './conf-change-codec.ts'
import { noData, type Proposal } from './entry.ts'
import { handleReadIndex } from './leader-reads.ts'
import {
  handleAppendResponse,
  handleHeartbeatResponse,
  handleSnapshotStatus,
  handleUnreachable,
  sendTimeoutNow
} from './leader-responses.ts'
import { lastIndexOf } from './log.ts'
import type { Message } from './message.ts'
import type { StepOutcome } from './outcome.ts'
import type { Progress } from './progress.ts'
import { isMember, type Raft } from './raft.ts'
import { appendProposals, broadcastAppend, maybeSendAppend } from './replication.ts'
import { nobody } from './state.ts'
import { isJoint, isQuorumActive } from './tracker.ts'
import { becomeFollower } from './transitions.ts'

export function stepLeader(raft: Raft, m: Message): StepOutcome {
  if (m.type === 'propose') return proposeAsLeader(raft, m.entries)
  if (m.type === 'read-index') return handleReadIndex(raft, m)
  const progress = raft.tracker.progress.get(m.from)
  if (progress !== undefined) stepProgress(raft, m, progress)
  return 'ok'
}

function stepProgress(raft: Raft, m: Message, progress: Progress): void {
  if (m.type === 'append-response') handleAppendResponse(raft, m, progress)
  else if (m.type === 'heartbeat-response') handleHeartbeatResponse(raft, m, progress)
  else if (m.type === 'snapshot-status') handleSnapshotStatus(m, progress)
  else if (m.type === 'unreachable') handleUnreachable(progress)
  else if (m.type === 'transfer-leader') transferTo(raft, m.from, progress)
}

/** Everybody but the leader has until the next check to be heard from again. */
export function checkQuorum(raft: Raft): void {
  if (!isQuorumActive(raft.tracker)) becomeFollower(raft, raft.term, nobody)
  for (const [id, progress] of raft.tracker.progress) if (id !== raft.options.id) progress.recentActive = false
}

export function proposeAsLeader(raft: Raft, proposals: readonly Proposal[]): StepOutcome {
  if (proposals.length === 0 || !isMember(raft) || raft.transferee !== nobody) return 'dropped'
  const pendingBefore = raft.pendingConfIndex
  const admitted = admitConfChanges(raft, proposals)
  if (!appendProposals(raft, admitted)) {
    raft.pendingConfIndex = pendingBefore
    return 'dropped'
  }
  broadcastAppend(raft)
  return 'ok'
}

/** A membership change that cannot be made now becomes an empty entry, so that its place in the log is kept. */
function admitConfChanges(raft: Raft, proposals: readonly Proposal[]): readonly Proposal[] {
  if (proposals.every((proposal) => proposal.type === 'normal')) return proposals
  const first = lastIndexOf(raft.log) + 1
  return proposals.map((proposal, at) => {
    if (proposal.type === 'normal') return proposal
    if (raft.options.validateConfChanges && !isAdmissible(raft, proposal)) return { type: 'normal', data: noData }
    raft.pendingConfIndex = first + at
    return proposal
  })
}

/** One change at a time, a joint configuration is left before the next, and only a joint one is left. */
function isAdmissible(raft: Raft, { type, data }: Proposal): boolean {
  const change = decodeConfChange(type, data)
  if (change === undefined || raft.pendingConfIndex > raft.log.applied) return false
  const leaves = change.changes.length === 0
  return isJoint(raft.tracker.config) === leaves
}

/** Proposals are dropped from now on, until the transferee has taken over or one election timeout has passed. */
function transferTo(raft: Raft, id: number, progress: Progress): void {
  if (progress.isLearner || raft.transferee === id) return
  raft.transferee = nobody
  if (id === raft.options.id) return
  raft.electionElapsed = 0
  raft.transferee = id
  if (progress.match === lastIndexOf(raft.log)) sendTimeoutNow(raft, id)
  else maybeSendAppend(raft, id, true)
}
