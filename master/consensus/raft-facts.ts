import { lastIndexOf } from '../raft/log.ts'
import type { RaftHost } from './host.ts'

export interface MemberFacts {
  readonly raftId: number
  readonly nodeId: string
  readonly address: string
  readonly agentAddress: string
  readonly role: 'voter' | 'learner' | 'leaving'
  /** What the leader knows of it; null where this master does not lead. */
  readonly progress: {
    readonly state: 'probe' | 'replicate' | 'snapshot'
    /** The last entry that it is known to have on disk. */
    readonly match: number
    readonly isActive: boolean
  } | null
}

/** How one master sees the log and its members. */
export interface RaftFacts {
  readonly raftId: number
  readonly role: 'follower' | 'pre-candidate' | 'candidate' | 'leader' | 'failed'
  readonly term: number
  /** Raft id, 0 for nobody. */
  readonly leader: number
  readonly lastIndex: number
  readonly committed: number
  readonly applied: number
  readonly snapshotIndex: number
  readonly segments: number
  readonly isDiskFull: boolean
  readonly members: readonly MemberFacts[]
  /** Ever given away. */
  readonly highestRaftId: number
}

export function raftFacts({ raft, store, membership, raftId }: RaftHost): RaftFacts {
  const { voters, learners } = membership
  const members = membership.members.map(({ raftId: id, nodeId, address, agentAddress }): MemberFacts => {
    const progress = raft?.role === 'leader' ? raft.tracker.progress.get(id) : undefined
    return {
      raftId: id,
      nodeId,
      address,
      agentAddress,
      role: voters.includes(id) ? 'voter' : learners.includes(id) ? 'learner' : 'leaving',
      progress:
        progress === undefined
          ? null
          : { state: progress.state, match: progress.match, isActive: progress.recentActive || id === raftId }
    }
  })
  return {
    raftId,
    role: raft?.role ?? 'failed',
    term: raft?.term ?? 0,
    leader: raft?.leader ?? 0,
    lastIndex: raft === undefined ? store.lastIndex() : lastIndexOf(raft.log),
    committed: raft?.log.committed ?? 0,
    applied: raft?.log.applied ?? 0,
    snapshotIndex: store.newest.index,
    segments: store.wal.segments.length,
    isDiskFull: store.wal.isFull,
    members,
    highestRaftId: membership.highestRaftId
  }
}
