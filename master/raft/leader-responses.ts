import { confirmReads, releaseEarlyReads } from './leader-reads.ts'
import { firstIndexOf, lastIndexOf, lastIndexWithin } from './log.ts'
import { type Message, message } from './message.ts'
import { send } from './outbox.ts'
import { becomeProbe, becomeReplicate, canBumpCommit, maybeDecrease, maybeUpdate, type Progress } from './progress.ts'
import type { Raft } from './raft.ts'
import { broadcastAppend, maybeCommit, maybeSendAppend } from './replication.ts'

/** What a follower, or the leader's own disk, says to an append. */
export function handleAppendResponse(raft: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true
  if (m.reject) handleRefusal(raft, m, progress)
  // Nothing new, unless it ends the probing of a follower that lacked nothing.
  else if (maybeUpdate(progress, m.index) || (progress.match === m.index && progress.state === 'probe')) {
    handleAccepted(raft, m, progress)
  }
}

function handleRefusal(raft: Raft, m: Message, progress: Progress): void {
  // The follower told the term it has at the hint. Where our terms are higher than that the logs cannot meet: skip all of it.
  const hint = m.logTerm > 0 ? lastIndexWithin(raft.log, m.rejectHint, m.logTerm).index : m.rejectHint
  if (!maybeDecrease(progress, m.index, hint)) return
  if (progress.state === 'replicate') becomeProbe(progress)
  maybeSendAppend(raft, m.from, true)
}

function handleAccepted(raft: Raft, m: Message, progress: Progress): void {
  const { id, tellCommitsAtOnce } = raft.options
  followUp(raft, m, progress)
  const committedBefore = raft.log.committed
  if (maybeCommit(raft)) {
    releaseEarlyReads(raft)
    // Whoever takes part must not learn late that this has changed.
    if (tellCommitsAtOnce || raft.pendingConfIndex > committedBefore) broadcastAppend(raft)
  } else if (tellCommitsAtOnce && m.from !== id && canBumpCommit(progress, raft.log.committed)) {
    maybeSendAppend(raft, m.from, true)
  }
  // There may be room for several appends now.
  if (m.from !== id) while (maybeSendAppend(raft, m.from, false));
  if (m.from === raft.transferee && progress.match === lastIndexOf(raft.log)) sendTimeoutNow(raft, m.from)
}

function followUp(raft: Raft, m: Message, progress: Progress): void {
  if (progress.state === 'probe') becomeReplicate(progress)
  else if (progress.state === 'replicate') progress.inflights.freeTo(m.index)
  else if (progress.match + 1 >= firstIndexOf(raft.log)) {
    // Whatever snapshot it was that the follower installed: the log can go on from there.
    becomeProbe(progress)
    becomeReplicate(progress)
  }
}

export function sendTimeoutNow(raft: Raft, to: number): void {
  send(raft, message('timeout-now', to))
}

export function handleHeartbeatResponse(raft: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true
  progress.flowPaused = false
  // One that lacks entries, or is being probed, gets an append even if its pipeline is full: all of that may have been lost.
  if (progress.match < lastIndexOf(raft.log) || progress.state === 'probe') maybeSendAppend(raft, m.from, true)
  if (m.readRound > 0) confirmReads(raft, m.from, m.readRound)
}

/** The host delivered a snapshot, or failed to. Either way the follower's answer, or a heartbeat's, comes before the next append. */
export function handleSnapshotStatus(m: Message, progress: Progress): void {
  if (progress.state !== 'snapshot') return
  if (m.reject) progress.pendingSnapshot = 0
  becomeProbe(progress)
  progress.flowPaused = true
}

/** What was sent ahead is probably lost: find out where the follower is. */
export function handleUnreachable(progress: Progress): void {
  if (progress.state === 'replicate') becomeProbe(progress)
}
