import { isFault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import type { Membership as MembershipMessage } from '../../proto/gen/messages.ts'
import type { ConfState } from '../raft/state.ts'

export interface Member {
  readonly raftId: number
  readonly nodeId: string
  /** Where its peers reach it; empty: nowhere yet. */
  readonly address: string
  /** Where agents reach it; empty: only on its own host. */
  readonly agentAddress: string
}

/** Who takes part, and who that is. */
export interface Membership extends ConfState {
  readonly members: readonly Member[]
  /** Ever given away: no Raft id is given twice, since who had it may have voted. */
  readonly highestRaftId: number
}

/** The founder of a cluster is alone in it, and every log begins with that. */
export const founderId = 1

/** Every log begins with these voters: the founder alone, where nobody says otherwise. */
export const genesisOf = (members: readonly Member[]): Membership => ({
  voters: members.map((member) => member.raftId),
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
  members,
  highestRaftId: highestOf(members)
})

const highestOf = (members: readonly Member[]): number => Math.max(0, ...members.map((member) => member.raftId))

export const isMemberOf = ({ voters, votersOutgoing, learners, learnersNext }: ConfState, raftId: number): boolean =>
  [voters, votersOutgoing, learners, learnersNext].some((ids) => ids.includes(raftId))

export function membershipMessage(membership: Membership): MembershipMessage {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = membership
  const ids = [...new Set([voters, votersOutgoing, learners, learnersNext].flat())].sort((a, b) => a - b)
  const named = new Map(membership.members.map((member) => [member.raftId, member]))
  const members = ids.map((raftId) => ({
    ...(named.get(raftId) ?? { raftId, nodeId: '', address: '', agentAddress: '' }),
    voter: voters.includes(raftId),
    voterOutgoing: votersOutgoing.includes(raftId),
    learner: learners.includes(raftId),
    learnerNext: learnersNext.includes(raftId)
  }))
  return { members, autoLeave, highestRaftId: membership.highestRaftId }
}

export function readMembership({ members: rows, autoLeave, highestRaftId }: MembershipMessage): Membership {
  const idsOf = (role: 'voter' | 'voterOutgoing' | 'learner' | 'learnerNext'): readonly number[] =>
    rows.filter((member) => member[role]).map((member) => member.raftId)
  const members = rows.map(memberOf)
  return {
    voters: idsOf('voter'),
    votersOutgoing: idsOf('voterOutgoing'),
    learners: idsOf('learner'),
    learnersNext: idsOf('learnerNext'),
    autoLeave,
    members,
    highestRaftId: Math.max(highestRaftId, highestOf(members))
  }
}

const memberOf = ({ raftId, nodeId, address, agentAddress }: Member): Member => ({ raftId, nodeId, address, agentAddress })

/** What a membership entry tells about the newcomers, as its context. */
export const encodeNewcomers = (members: readonly Member[]): Uint8Array =>
  encodeMessage('Membership', { members: members.map(memberOf) })

/** The membership after a change: newcomers are named by the entry, and who has left is forgotten. */
export function changedMembership(before: Membership, confState: ConfState, context: Uint8Array): Membership {
  const rows = new Map(before.members.map((member) => [member.raftId, member]))
  const newcomers = newcomersOf(context).map(memberOf)
  for (const member of newcomers) rows.set(member.raftId, member)
  const members = [...rows.values()].filter((member) => isMemberOf(confState, member.raftId))
  const highestRaftId = Math.max(before.highestRaftId, highestOf(newcomers))
  return { ...confState, members: members.sort((a, b) => a.raftId - b.raftId), highestRaftId }
}

/** The bytes are of a committed entry and can be anything: what cannot be read names nobody. */
function newcomersOf(context: Uint8Array): readonly Member[] {
  try {
    return decodeMessage('Membership', context).members
  } catch (e) {
    if (isFault(e)) return []
    throw e
  }
}
