/** Ids of one majority's voters, ascending. */
export type Majority = readonly number[]

/** Outside a joint configuration `outgoing` is empty and agrees to everything. */
export interface JointQuorum {
  readonly incoming: Majority
  readonly outgoing: Majority
}

export type VoteResult = 'pending' | 'lost' | 'won'

/** The highest index that a majority has reached. Nobody to ask agrees to everything: Infinity. */
export function committedIndex(voters: Majority, reached: (id: number) => number): number {
  const count = voters.length
  if (count === 0) return Number.POSITIVE_INFINITY
  const ascending: number[] = []
  for (const id of voters) {
    const index = reached(id)
    let at = ascending.length
    for (let before = ascending[at - 1]; before !== undefined && before > index; before = ascending[at - 1]) {
      ascending[at] = before
      at--
    }
    ascending[at] = index
  }
  return ascending[count - (Math.floor(count / 2) + 1)] ?? 0
}

/** A vote that is not in `votes` has not been cast yet. */
export function voteResult(voters: Majority, votes: ReadonlyMap<number, boolean>): VoteResult {
  let granted = 0
  let missing = 0
  for (const id of voters) {
    const vote = votes.get(id)
    if (vote === undefined) missing++
    else if (vote) granted++
  }
  const quorum = Math.floor(voters.length / 2) + 1
  if (voters.length === 0 || granted >= quorum) return 'won'
  return granted + missing >= quorum ? 'pending' : 'lost'
}

/** Only what both majorities have reached is committed. */
export function jointCommittedIndex(quorum: JointQuorum, reached: (id: number) => number): number {
  return Math.min(committedIndex(quorum.incoming, reached), committedIndex(quorum.outgoing, reached))
}

/** Won needs both majorities, lost needs one of them. */
export function jointVoteResult(quorum: JointQuorum, votes: ReadonlyMap<number, boolean>): VoteResult {
  const incoming = voteResult(quorum.incoming, votes)
  const outgoing = voteResult(quorum.outgoing, votes)
  if (incoming === outgoing) return incoming
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending'
}

/** Everybody who has a vote in either majority, ascending. */
export function jointVoters(quorum: JointQuorum): readonly number[] {
  if (quorum.outgoing.length === 0) return quorum.incoming
  return [...new Set([...quorum.incoming, ...quorum.outgoing])].sort((a, b) => a - b)
}
