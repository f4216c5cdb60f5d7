import { Fault } from '../../base/fault.ts'
import type { ConfChangeSingle } from '../raft/conf-change.ts'
import type { MemberFacts, RaftFacts } from './raft-facts.ts'

/** So many entries behind the leader is as good as level: what is missing comes within the next round. */
const levelWithin = 64

const isVoter = ({ role }: MemberFacts): boolean => role === 'voter'
const isLearner = ({ role }: MemberFacts): boolean => role === 'learner'

export const isLevel = ({ progress }: MemberFacts, { committed }: RaftFacts): boolean =>
  progress?.isActive === true && progress.state === 'replicate' && progress.match + levelWithin >= committed

/**
 * Learners that become voters now: as many that have caught up as leave an odd number of voters, or nobody. An even number survives
 * no more losses than the odd one below it, and needs one more answer for every write; two voters survive less than one alone.
 */
export function planPromotion(facts: RaftFacts): readonly ConfChangeSingle[] {
  const ready = facts.members.filter((member) => isLearner(member) && isLevel(member, facts))
  const voters = facts.members.filter(isVoter).length
  const many = (voters + ready.length) % 2 === 1 ? ready.length : ready.length - 1
  return ready.slice(0, Math.max(0, many)).map(({ raftId }) => ({ type: 'add-voter', nodeId: raftId }))
}

/**
 * A member goes. Throws `Fault('not-found')` for none, `conflict` where those that answer would be no majority of those that stay: the
 * cluster would stand still.
 */
export function planRemoval(facts: RaftFacts, raftId: number): readonly ConfChangeSingle[] {
  const leaving = memberOf(facts, raftId)
  const staying = facts.members.filter((member) => isVoter(member) && member !== leaving)
  if (staying.length === 0) throw new Fault('conflict', 'this is the only voter: end the cluster with its daemons')
  checkQuorum(staying)
  return [{ type: 'remove', nodeId: raftId }]
}

/** One member for another in a single step, so that at no time there is one voter less. Undefined while the newcomer has not caught up. */
export function planReplacement(facts: RaftFacts, raftId: number, newcomer: number): readonly ConfChangeSingle[] | undefined {
  const leaving = facts.members.find((member) => member.raftId === raftId)
  const coming = memberOf(facts, newcomer)
  if (!isLevel(coming, facts)) return undefined
  const promotion: readonly ConfChangeSingle[] =
    leaving !== undefined && isVoter(leaving) ? [{ type: 'add-voter', nodeId: newcomer }] : []
  const removal: readonly ConfChangeSingle[] = leaving === undefined ? [] : [{ type: 'remove', nodeId: raftId }]
  checkQuorum([...facts.members.filter((member) => isVoter(member) && member !== leaving), coming])
  return [...promotion, ...removal]
}

/** Throws `Fault('not-found')` that names those there are. */
export function memberOf({ members }: RaftFacts, raftId: number): MemberFacts {
  const found = members.find((member) => member.raftId === raftId)
  if (found !== undefined) return found
  throw new Fault('not-found', `there is no member ${raftId}; there are ${members.map((m) => m.raftId).join(', ')}`)
}

function checkQuorum(staying: readonly MemberFacts[]): void {
  const answering = staying.filter((member) => member.progress?.isActive === true).length
  if (answering > staying.length / 2) return
  const message = `of the ${staying.length} voters that would stay ${answering} answer, which is no majority: bring the others back first`
  throw new Fault('conflict', message)
}
