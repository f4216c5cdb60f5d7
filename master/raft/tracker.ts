import type { InflightLimits, Progress } from './progress.ts'
import { type JointQuorum, jointCommittedIndex, jointVoteResult, type VoteResult } from './quorum.ts'
import type { ConfState } from './state.ts'

/** Who takes part. Every list ascends. */
export interface Configuration {
  readonly voters: JointQuorum
  /** Leave the joint configuration as soon as it is applied. */
  readonly autoLeave: boolean
  readonly learners: readonly number[]
  /** Voters of the outgoing majority who become learners when the joint configuration is left. */
  readonly learnersNext: readonly number[]
}

export type ProgressMap = ReadonlyMap<number, Progress>

/** The configuration, and what is known of each of its members. */
export interface Tracker {
  config: Configuration
  progress: ProgressMap
  /** Keys of `progress`, ascending: the order in which peers are written to. */
  ids: readonly number[]
  readonly votes: Map<number, boolean>
  readonly limits: InflightLimits
}

export const emptyConfiguration: Configuration = {
  voters: { incoming: [], outgoing: [] },
  autoLeave: false,
  learners: [],
  learnersNext: []
}

export function newTracker(limits: InflightLimits): Tracker {
  return { config: emptyConfiguration, progress: new Map(), ids: [], votes: new Map(), limits }
}

export function useConfiguration(tracker: Tracker, config: Configuration, progress: ProgressMap): void {
  tracker.config = config
  tracker.progress = progress
  tracker.ids = [...progress.keys()].sort((a, b) => a - b)
}

export const confStateOf = (config: Configuration): ConfState => ({
  voters: config.voters.incoming,
  votersOutgoing: config.voters.outgoing,
  learners: config.learners,
  learnersNext: config.learnersNext,
  autoLeave: config.autoLeave
})

export const isJoint = (config: Configuration): boolean => config.voters.outgoing.length > 0

/** There is one voter, so nobody else need be asked. */
export const isSingleton = (config: Configuration): boolean => config.voters.incoming.length === 1 && !isJoint(config)

/** The highest index that the configuration's quorum has on disk. */
export const quorumMatch = (tracker: Tracker): number =>
  jointCommittedIndex(tracker.config.voters, (id) => tracker.progress.get(id)?.match ?? 0)

export function isQuorumActive(tracker: Tracker): boolean {
  const active = new Map<number, boolean>()
  for (const [id, progress] of tracker.progress) if (!progress.isLearner) active.set(id, progress.recentActive)
  return jointVoteResult(tracker.config.voters, active) === 'won'
}

/** The first vote of a node counts, later ones are repeats. */
export function recordVote(tracker: Tracker, id: number, granted: boolean): VoteResult {
  if (!tracker.votes.has(id)) tracker.votes.set(id, granted)
  return jointVoteResult(tracker.config.voters, tracker.votes)
}
