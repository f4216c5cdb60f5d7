import type { Random } from '../../base/random.ts'

/** How bad the world of one seed is. Drawn anew for each: some runs have a fault often, others never (swarm testing). */
export interface Swarm {
  readonly voters: number
  readonly clients: number
  readonly keys: number
  /** Per 1,000 messages. */
  readonly loss: number
  readonly duplication: number
  readonly minDelayMs: number
  readonly maxDelayMs: number
  readonly diskMs: number
  /** Mean time between two faults of a kind, 0 for never. */
  readonly crashEveryMs: number
  readonly pauseEveryMs: number
  readonly partitionEveryMs: number
  readonly transferEveryMs: number
  readonly membershipEveryMs: number
  readonly stallEveryMs: number
  readonly fullEveryMs: number
  readonly eioEveryMs: number
  /** One master's disk turns a bit over in its sleep. */
  readonly hasRot: boolean
  readonly snapshotBytes: number
  readonly segmentBytes: number
  readonly trailingEntries: number
  readonly tailBytes: number
  readonly preVote: boolean
  /** Peers notice the end of a process by the end of its connection. */
  readonly noticesClose: boolean
  readonly driftPercent: number
  readonly inflight: number
  readonly maxMessageBytes: number
  /** A leader that others have replaced, and that only its clients can still tell. */
  readonly deposeEveryMs: number
  /** Who has just voted dies, and is back before the election is over: so many times of 100. */
  readonly crashAfterVote: number
}

export function drawSwarm(random: Random): Swarm {
  const some = (values: readonly number[]): number => values[random.between(0, values.length - 1)] ?? 0
  const minDelayMs = some([0, 0, 1, 5])
  const membershipEveryMs = some([0, 0, 300, 1000])
  return {
    voters: some([3, 3, 3, 5, 5, 7]),
    clients: random.between(1, 6),
    keys: random.between(1, 4),
    loss: some([0, 0, 10, 50, 200]),
    duplication: some([0, 0, 10, 100, 300]),
    minDelayMs,
    maxDelayMs: minDelayMs + some([1, 5, 20, 60]),
    diskMs: some([0, 1, 5, 20]),
    crashEveryMs: some([0, 300, 800, 2000]),
    pauseEveryMs: some([0, 0, 500, 2000]),
    partitionEveryMs: some([0, 400, 1000, 3000]),
    transferEveryMs: some([0, 0, 500]),
    membershipEveryMs,
    stallEveryMs: some([0, 0, 1000]),
    fullEveryMs: some([0, 0, 0, 1500]),
    eioEveryMs: some([0, 0, 1500]),
    // Whose disk is lost counts as dead for ever: only where nobody else leaves the quorum.
    hasRot: membershipEveryMs === 0 && random.between(0, 3) === 0,
    snapshotBytes: some([600, 3_000, 12_000]),
    segmentBytes: some([1_024, 4_096, 16_384]),
    trailingEntries: some([0, 3, 20]),
    tailBytes: some([100, 1_000, 10_000]),
    preVote: random.between(0, 3) > 0,
    noticesClose: random.between(0, 1) === 0,
    driftPercent: some([0, 5, 20]),
    inflight: some([1, 4, 64]),
    maxMessageBytes: some([1, 400, 100_000]),
    deposeEveryMs: some([0, 0, 600, 1500]),
    crashAfterVote: some([0, 0, 20, 60])
  }
}
