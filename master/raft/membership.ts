import { type ChangeRefusal, changeSimply, enterJoint, leaveJoint, restoreConfiguration } from './changer.ts'
import { type ConfChange, planOf } from './conf-change.ts'
import { lastIndexOf } from './log.ts'
import { jointVoters } from './quorum.ts'
import type { Raft } from './raft.ts'
import { broadcastAppend, broadcastEntries, maybeCommit } from './replication.ts'
import { type ConfState, nobody } from './state.ts'
import { type Configuration, confStateOf, type ProgressMap, useConfiguration } from './tracker.ts'
import { becomeFollower } from './transitions.ts'

export interface AppliedConfChange {
  /** The members after this entry. Undefined where a snapshot that is being installed has overtaken it: take none meanwhile. */
  readonly confState: ConfState | undefined
  /** Every node refuses the same changes at the same index and keeps its configuration. */
  readonly refused: ChangeRefusal | undefined
}

/**
 * The host calls this for each committed membership entry, in the order of the log, as part of applying it: a configuration is in
 * force from when it is applied. An entry that a snapshot has overtaken is no news: its configuration is in force already.
 */
export function applyConfChange(raft: Raft, change: ConfChange): AppliedConfChange {
  const { tracker } = raft
  if (raft.log.unstable.snapshot !== undefined) return { confState: undefined, refused: undefined }
  const base = {
    config: tracker.config,
    progress: tracker.progress,
    lastIndex: lastIndexOf(raft.log),
    limits: tracker.limits
  }
  const plan = planOf(change)
  const changed =
    plan.kind === 'leave'
      ? leaveJoint(base)
      : plan.kind === 'simple'
        ? changeSimply(base, change.changes)
        : enterJoint(base, plan.autoLeave, change.changes)
  if (changed.ok) switchConfiguration(raft, changed.config, changed.progress)
  return { confState: confStateOf(tracker.config), refused: changed.ok ? undefined : changed.reason }
}

/** Takes over the configuration of a snapshot, or of storage at start. */
export function restoreMembership(raft: Raft, confState: ConfState): void {
  const { config, progress } = restoreConfiguration(confState, lastIndexOf(raft.log), raft.tracker.limits)
  raft.tracker.votes.clear()
  switchConfiguration(raft, config, progress)
}

function switchConfiguration(raft: Raft, config: Configuration, progress: ProgressMap): void {
  useConfiguration(raft.tracker, config, progress)
  if (raft.role !== 'leader') return
  const own = progress.get(raft.options.id)
  if (own === undefined || own.isLearner) {
    if (raft.options.stepDownOnRemoval) becomeFollower(raft, raft.term, nobody)
    return
  }
  if (config.voters.incoming.length === 0) return
  // A smaller quorum may have what a larger one lacked.
  if (maybeCommit(raft)) broadcastAppend(raft)
  else broadcastEntries(raft)
  if (!jointVoters(config.voters).includes(raft.transferee)) raft.transferee = nobody
}
