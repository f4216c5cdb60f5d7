/** How one master sees the log and its members. */
export interface RaftFacts {
  readonly raftId: number
  readonly role: string
  readonly term: number
  /** Raft id, 0 for nobody. */
  readonly leader: number
  readonly lastIndex: number
  readonly committed: number
  readonly applied: number
  readonly snapshotIndex: number
  readonly segments: number
  readonly isDiskFull: boolean
  readonly members: readonly RaftMember[]
  readonly highestRaftId: number
}

/** How each of the masters sees the log. */
export interface MembersFacts {
  /** The master that was asked. */
  readonly askedRaftId: number
  readonly leader: number
  readonly term: number
  readonly members: readonly MemberView[]
}

export interface MemberView {
  readonly raftId: number
  readonly nodeId: string
  readonly address: string
  readonly agentAddress: string
  readonly role: string
  /** Null where it was not reached; `problem` tells why. */
  readonly own: Omit<RaftFacts, 'members'> | null
  readonly problem: string
}

export interface AddedMember {
  readonly raftId: number
  readonly nodeId: string
}

export interface RaftMember {
  readonly raftId: number
  readonly nodeId: string
  readonly address: string
  readonly agentAddress: string
  readonly role: string
  /** Null where the master that was asked does not lead. */
  readonly progress: { readonly state: string; readonly match: number; readonly isActive: boolean } | null
}
