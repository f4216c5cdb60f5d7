import { Inflights } from './inflights.ts'
import { assert } from './invariant.ts'

/**
 * What the leader knows of one node's log, itself included.
 *
 *     probe      one append at a time, until an answer tells where the logs meet
 *     replicate  a pipeline of appends, sent ahead of the answers
 *     snapshot   a snapshot is under way: no appends at all
 *
 *     probe -- append accepted --> replicate -- append refused, unreachable --> probe
 *     probe, replicate -- needed entries are compacted --> snapshot
 *     snapshot -- the follower has what our log can go on from --> replicate
 *     snapshot -- the host says that it was delivered, or failed --> probe
 */
export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export interface Progress {
  /** Known to be in the follower's log, durably. */
  match: number
  /** The next entry to send. In `replicate` everything between `match` and it is in flight. */
  next: number
  /** The highest commit index the follower has been told, so far as no message got lost. */
  sentCommit: number
  state: ProgressState
  pendingSnapshot: number
  /** Heard from since the last check of the quorum. */
  recentActive: boolean
  /** Nothing is sent until an answer to an append or to a heartbeat comes. */
  flowPaused: boolean
  inflights: Inflights
  isLearner: boolean
}

export interface InflightLimits {
  readonly maxMessages: number
  readonly maxBytes: number
}

export function newProgress(next: number, isLearner: boolean, limits: InflightLimits): Progress {
  return {
    match: 0,
    next,
    sentCommit: 0,
    state: 'probe',
    pendingSnapshot: 0,
    recentActive: false,
    flowPaused: false,
    inflights: new Inflights(limits.maxMessages, limits.maxBytes),
    isLearner
  }
}

function enter(progress: Progress, state: ProgressState): void {
  progress.flowPaused = false
  progress.pendingSnapshot = 0
  progress.state = state
  progress.inflights.reset()
}

function forgetCommitsBeyondNext(progress: Progress): void {
  progress.sentCommit = Math.min(progress.sentCommit, progress.next - 1)
}

export function becomeProbe(progress: Progress): void {
  // After a snapshot that was delivered the follower is at least where the snapshot is.
  const from = progress.state === 'snapshot' ? Math.max(progress.match, progress.pendingSnapshot) : progress.match
  enter(progress, 'probe')
  progress.next = from + 1
  forgetCommitsBeyondNext(progress)
}

export function becomeReplicate(progress: Progress): void {
  enter(progress, 'replicate')
  progress.next = progress.match + 1
}

export function becomeSnapshot(progress: Progress, index: number): void {
  enter(progress, 'snapshot')
  progress.pendingSnapshot = index
  progress.next = index + 1
  progress.sentCommit = index
}

export const isPaused = (progress: Progress): boolean => progress.state === 'snapshot' || progress.flowPaused

/** Notes an append of `count` entries that has just been sent. */
export function sentEntries(progress: Progress, count: number, bytes: number): void {
  assert(progress.state !== 'snapshot', 'entries are sent while a snapshot is under way')
  if (progress.state === 'probe') {
    // An empty probe tells the commit index and may be followed by others.
    if (count > 0) progress.flowPaused = true
    return
  }
  if (count > 0) {
    progress.next += count
    progress.inflights.add(progress.next - 1, bytes)
  }
  // A full pipeline still lets one empty append through after each heartbeat, lest the loss of all of it be noticed by nobody.
  progress.flowPaused = progress.inflights.isFull()
}

/** Whether telling the follower `commit` now would let it commit more than the messages already sent do. */
export const canBumpCommit = (progress: Progress, commit: number): boolean =>
  commit > progress.sentCommit && progress.sentCommit < progress.next - 1

/** The follower has everything up to `index`; false when that is old news. */
export function maybeUpdate(progress: Progress, index: number): boolean {
  if (index <= progress.match) return false
  progress.match = index
  progress.next = Math.max(progress.next, index + 1)
  progress.flowPaused = false
  return true
}

/** The follower refused an append after `rejected` and hinted where to try again; false when the refusal is an old one. */
export function maybeDecrease(progress: Progress, rejected: number, hint: number): boolean {
  if (progress.state === 'replicate') {
    if (rejected <= progress.match) return false
    progress.next = progress.match + 1
    forgetCommitsBeyondNext(progress)
    return true
  }
  if (progress.next - 1 !== rejected) return false
  progress.next = Math.max(Math.min(rejected, hint + 1), progress.match + 1)
  forgetCommitsBeyondNext(progress)
  progress.flowPaused = false
  return true
}
