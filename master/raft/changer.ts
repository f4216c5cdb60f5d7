import type { ConfChangeSingle } from './conf-change.ts'
import { assert } from './invariant.ts'
import { type InflightLimits, newProgress, type Progress } from './progress.ts'
import type { ConfState } from './state.ts'
import { type Configuration, isJoint, type ProgressMap } from './tracker.ts'

/** What a change starts from. New members are tried with `lastIndex` first: they may know nothing at all. */
export interface ChangeBase {
  readonly config: Configuration
  readonly progress: ProgressMap
  readonly lastIndex: number
  readonly limits: InflightLimits
}

/** Why a change is not legal; every node finds the same, because every node starts from the same configuration. */
export type ChangeRefusal =
  | 'already-joint'
  | 'not-joint'
  | 'simple-in-joint'
  | 'no-voters-before'
  | 'no-voters-after'
  | 'several-voters'

export type Changed =
  | { readonly ok: true; readonly config: Configuration; readonly progress: ProgressMap }
  | { readonly ok: false; readonly reason: ChangeRefusal }

interface Draft {
  readonly incoming: Set<number>
  readonly outgoing: ReadonlySet<number>
  readonly learners: Set<number>
  readonly learnersNext: Set<number>
  readonly progress: Map<number, Progress>
  readonly base: ChangeBase
}

function draftOf(base: ChangeBase, outgoing: readonly number[]): Draft {
  const { voters, learners, learnersNext } = base.config
  return {
    incoming: new Set(voters.incoming),
    outgoing: new Set(outgoing),
    learners: new Set(learners),
    learnersNext: new Set(learnersNext),
    // A refused change leaves the base as it was.
    progress: new Map([...base.progress].map(([id, progress]) => [id, { ...progress }])),
    base
  }
}

const ascending = (ids: Iterable<number>): readonly number[] => [...ids].sort((a, b) => a - b)
const refused = (reason: ChangeRefusal): Changed => ({ ok: false, reason })

function finish(draft: Draft, autoLeave: boolean): Changed {
  const config: Configuration = {
    voters: { incoming: ascending(draft.incoming), outgoing: ascending(draft.outgoing) },
    autoLeave,
    learners: ascending(draft.learners),
    learnersNext: ascending(draft.learnersNext)
  }
  checkConfiguration(config, draft.progress)
  return { ok: true, config, progress: draft.progress }
}

function checkConfiguration({ voters, learners, learnersNext, autoLeave }: Configuration, progress: ProgressMap): void {
  const { incoming, outgoing } = voters
  for (const id of [...incoming, ...outgoing, ...learners, ...learnersNext]) assert(progress.has(id), `${id} has no progress`)
  for (const id of learnersNext) {
    assert(outgoing.includes(id), `${id} becomes a learner and is no voter of the outgoing majority`)
    assert(progress.get(id)?.isLearner === false, `${id} becomes a learner and is one already`)
  }
  for (const id of learners) {
    assert(!incoming.includes(id) && !outgoing.includes(id), `${id} is a learner and a voter`)
    assert(progress.get(id)?.isLearner === true, `${id} is a learner and its progress is a voter's`)
  }
  assert(outgoing.length > 0 || (learnersNext.length === 0 && !autoLeave), 'half a joint configuration')
}

function addMember(draft: Draft, id: number, isLearner: boolean): void {
  ;(isLearner ? draft.learners : draft.incoming).add(id)
  const progress = newProgress(Math.max(draft.base.lastIndex, 1), isLearner, draft.base.limits)
  // A newcomer gets one election timeout before its silence counts against the quorum.
  progress.recentActive = true
  draft.progress.set(id, progress)
}

function makeVoter(draft: Draft, id: number): void {
  const progress = draft.progress.get(id)
  if (progress === undefined) {
    addMember(draft, id, false)
    return
  }
  progress.isLearner = false
  draft.learners.delete(id)
  draft.learnersNext.delete(id)
  draft.incoming.add(id)
}

function makeLearner(draft: Draft, id: number): void {
  const progress = draft.progress.get(id)
  if (progress === undefined) {
    addMember(draft, id, true)
    return
  }
  if (progress.isLearner) return
  remove(draft, id)
  draft.progress.set(id, progress)
  // Whoever still votes in the outgoing majority turns into a learner only when the joint configuration is left.
  if (draft.outgoing.has(id)) draft.learnersNext.add(id)
  else {
    progress.isLearner = true
    draft.learners.add(id)
  }
}

function remove(draft: Draft, id: number): void {
  draft.incoming.delete(id)
  draft.learners.delete(id)
  draft.learnersNext.delete(id)
  if (!draft.outgoing.has(id)) draft.progress.delete(id)
}

function applyChanges(draft: Draft, changes: readonly ConfChangeSingle[]): boolean {
  for (const { type, nodeId } of changes) {
    // An id of zero stands for a change that was taken back before it was committed.
    if (nodeId === 0 || type === 'update') continue
    if (type === 'add-voter') makeVoter(draft, nodeId)
    else if (type === 'add-learner') makeLearner(draft, nodeId)
    else remove(draft, nodeId)
  }
  return draft.incoming.size > 0
}

/** Changes at most one voter, so that every quorum before and every quorum after have a member in common. */
export function changeSimply(base: ChangeBase, changes: readonly ConfChangeSingle[]): Changed {
  if (isJoint(base.config)) return refused('simple-in-joint')
  const draft = draftOf(base, [])
  if (!applyChanges(draft, changes)) return refused('no-voters-after')
  const before = new Set(base.config.voters.incoming)
  const added = [...draft.incoming].filter((id) => !before.has(id)).length
  const removed = [...before].filter((id) => !draft.incoming.has(id)).length
  if (added + removed > 1) return refused('several-voters')
  return finish(draft, false)
}

/** The majority of today stays in force as the outgoing one, beside the one that the changes make. */
export function enterJoint(base: ChangeBase, autoLeave: boolean, changes: readonly ConfChangeSingle[]): Changed {
  if (isJoint(base.config)) return refused('already-joint')
  if (base.config.voters.incoming.length === 0) return refused('no-voters-before')
  const draft = draftOf(base, base.config.voters.incoming)
  if (!applyChanges(draft, changes)) return refused('no-voters-after')
  return finish(draft, autoLeave)
}

/** The outgoing majority loses its say, and whoever was only in it leaves. */
export function leaveJoint(base: ChangeBase): Changed {
  if (!isJoint(base.config)) return refused('not-joint')
  const draft = draftOf(base, [])
  for (const id of draft.learnersNext) {
    const progress = draft.progress.get(id)
    assert(progress !== undefined, `${id} has no progress`)
    progress.isLearner = true
    draft.learners.add(id)
  }
  draft.learnersNext.clear()
  for (const id of base.config.voters.outgoing) {
    if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id)
  }
  return finish(draft, false)
}

/** The configuration that a snapshot carries, with nothing known of its members yet. */
export function restoreConfiguration(
  state: ConfState,
  lastIndex: number,
  limits: InflightLimits
): { config: Configuration; progress: ProgressMap } {
  const config: Configuration = {
    voters: { incoming: ascending(state.voters), outgoing: ascending(state.votersOutgoing) },
    autoLeave: state.autoLeave,
    learners: ascending(state.learners),
    learnersNext: ascending(state.learnersNext)
  }
  const progress = new Map<number, Progress>()
  for (const id of [...state.voters, ...state.votersOutgoing, ...state.learners]) {
    if (!progress.has(id)) {
      const member = newProgress(Math.max(lastIndex, 1), state.learners.includes(id), limits)
      member.recentActive = true
      progress.set(id, member)
    }
  }
  checkConfiguration(config, progress)
  return { config, progress }
}
