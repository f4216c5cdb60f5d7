import { type Entry, type Proposal, payloadBytes } from './entry.ts'
import { appendToLog, commitTo, entriesFrom, lastIndexOf, matches, termAt } from './log.ts'
import { message } from './message.ts'
import { send, sendAppendResponse } from './outbox.ts'
import { becomeSnapshot, isPaused, type Progress, sentEntries } from './progress.ts'
import type { Raft } from './raft.ts'
import { quorumMatch } from './tracker.ts'

/**
 * Sends the peer what it lacks, or a snapshot where the log does not reach back far enough. With `evenIfEmpty` an append without
 * entries goes too: it tells the commit index, or probes. False when nothing was sent.
 */
export function maybeSendAppend(raft: Raft, to: number, evenIfEmpty: boolean): boolean {
  const progress = raft.tracker.progress.get(to)
  if (progress === undefined || isPaused(progress)) return false
  const { log } = raft
  const previous = progress.next - 1
  const previousTerm = termAt(log, previous)
  if (previousTerm === undefined) return maybeSendSnapshot(raft, to, progress)
  // A full pipeline gets empty appends only: if all of it was lost, the answer to one of them shows it.
  const isThrottled = progress.state === 'replicate' && progress.inflights.isFull()
  const entries = isThrottled ? [] : entriesFrom(log, progress.next, raft.options.maxMessageBytes)
  if (entries === undefined) return maybeSendSnapshot(raft, to, progress)
  if (entries.length === 0 && !evenIfEmpty) return false
  const m = message('append', to)
  m.index = previous
  m.logTerm = previousTerm
  m.entries = entries
  m.commit = log.committed
  send(raft, m)
  sentEntries(progress, entries.length, payloadBytes(entries))
  progress.sentCommit = log.committed
  return true
}

function maybeSendSnapshot(raft: Raft, to: number, progress: Progress): boolean {
  // Whoever is not there would only keep a large file open.
  if (!progress.recentActive) return false
  const snapshot = raft.log.unstable.snapshot ?? raft.log.storage.snapshot(to)
  if (snapshot === undefined || snapshot.index === 0) return false
  becomeSnapshot(progress, snapshot.index)
  const m = message('snapshot', to)
  m.snapshot = snapshot
  send(raft, m)
  return true
}

export function broadcastAppend(raft: Raft): void {
  for (const id of raft.tracker.ids) if (id !== raft.options.id) maybeSendAppend(raft, id, true)
}

/** Probes those who were added just now, without waiting for the next heartbeat. */
export function broadcastEntries(raft: Raft): void {
  for (const id of raft.tracker.ids) if (id !== raft.options.id) maybeSendAppend(raft, id, false)
}

/** Tells everybody that the leader is there, and has reads of this round to confirm. */
export function broadcastHeartbeat(raft: Raft): void {
  for (const id of raft.tracker.ids) {
    const progress = raft.tracker.progress.get(id)
    if (id === raft.options.id || progress === undefined) continue
    const m = message('heartbeat', id)
    // Beyond what matches the follower could commit entries of its own that are none of ours.
    m.commit = Math.min(progress.match, raft.log.committed)
    m.readRound = raft.reads.waiting.length > 0 ? raft.reads.round : 0
    send(raft, m)
    progress.sentCommit = m.commit
  }
}

/**
 * Commits what a quorum has on disk, but counts only entries of the own term: an older one can be on a majority and still be
 * replaced (the Raft paper, 5.4.2). True when the commit index moved.
 */
export function maybeCommit(raft: Raft): boolean {
  const index = quorumMatch(raft.tracker)
  if (index <= raft.log.committed || !Number.isFinite(index) || !matches(raft.log, raft.term, index)) return false
  commitTo(raft.log, index)
  return true
}

/** Appends to the leader's own log, and counts the leader in once the write is durable. False when too much is uncommitted. */
export function appendProposals(raft: Raft, proposals: readonly Proposal[]): boolean {
  const bytes = payloadBytes(proposals)
  // Empty entries are never refused: a new leader's first, and the one that leaves a joint configuration.
  const isTooMuch = raft.uncommittedBytes + bytes > raft.options.maxUncommittedBytes
  if (raft.uncommittedBytes > 0 && bytes > 0 && isTooMuch) return false
  raft.uncommittedBytes += bytes
  let index = lastIndexOf(raft.log)
  const entries: Entry[] = proposals.map(({ type, data }) => ({ term: raft.term, index: ++index, type, data }))
  appendToLog(raft.log, entries)
  sendAppendResponse(raft, raft.options.id, index)
  return true
}

/** Something of the own term is committed, so all that was committed before is known to be. */
export const hasCommittedInTerm = (raft: Raft): boolean => termAt(raft.log, raft.log.committed) === raft.term
