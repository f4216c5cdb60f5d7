import t from 'tap'
import { planPromotion, planRemoval, planReplacement } from '../../../master/consensus/change-plan.ts'
import type { MemberFacts, RaftFacts } from '../../../master/consensus/raft-facts.ts'

type Told = 'level' | 'behind' | 'silent'

const member = (raftId: number, role: MemberFacts['role'], told: Told): MemberFacts => ({
  raftId,
  nodeId: `n${raftId}`,
  address: '',
  agentAddress: '',
  role,
  progress: { state: 'replicate', match: told === 'behind' ? 10 : 1_000, isActive: told !== 'silent' }
})

/** As the leader, member 1, sees it: voters first, then learners. */
function facts(voters: readonly Told[], learners: readonly Told[] = []): RaftFacts {
  const members = [
    ...voters.map((told, i) => member(i + 1, 'voter', told)),
    ...learners.map((told, i) => member(voters.length + i + 1, 'learner', told))
  ]
  const log = { lastIndex: 1_000, committed: 1_000, applied: 1_000, snapshotIndex: 0, segments: 1, isDiskFull: false }
  return { raftId: 1, role: 'leader', term: 3, leader: 1, ...log, members, highestRaftId: members.length }
}

const ids = (changes: readonly { readonly nodeId: number }[]): readonly number[] => changes.map(({ nodeId }) => nodeId)

t.test('learners vote as soon as their number leaves an odd one of voters', async (t) => {
  t.same(ids(planPromotion(facts(['level'], ['level']))), [], 'two voters survive less than one')
  t.same(ids(planPromotion(facts(['level'], ['level', 'level']))), [2, 3])
  t.same(ids(planPromotion(facts(['level'], ['level', 'level', 'level']))), [2, 3])
  t.same(ids(planPromotion(facts(['level', 'level'], ['level']))), [3], 'after a removal')
  t.same(ids(planPromotion(facts(['level', 'level', 'level'], ['level', 'level']))), [4, 5])
})

t.test('a learner that lags or is silent does not vote yet', async (t) => {
  t.same(planPromotion(facts(['level'], ['level', 'behind'])), [])
  t.same(planPromotion(facts(['level'], ['silent', 'level'])), [])
})

t.test('a member goes only where those that answer are a majority of those that stay', async (t) => {
  t.same(planRemoval(facts(['level', 'level', 'silent']), 3), [{ type: 'remove', nodeId: 3 }])
  t.throws(() => planRemoval(facts(['level', 'level', 'silent']), 2), { code: 'conflict', message: /of the 2 .* 1 answer/ })
  t.throws(() => planRemoval(facts(['level']), 1), { code: 'conflict', message: /only voter/ })
  t.throws(() => planRemoval(facts(['level']), 7), { code: 'not-found', message: /no member 7; there are 1/ })
})

t.test('one takes the place of another in a single step, once it has caught up', async (t) => {
  t.equal(planReplacement(facts(['level', 'level', 'silent'], ['behind']), 3, 4), undefined)
  t.same(planReplacement(facts(['level', 'level', 'silent'], ['level']), 3, 4), [
    { type: 'add-voter', nodeId: 4 },
    { type: 'remove', nodeId: 3 }
  ])
  t.same(planReplacement(facts(['level', 'level', 'level']), 9, 3), [], 'it was done before')
  const few = facts(['level', 'silent', 'silent', 'silent', 'level'], ['level'])
  t.throws(() => planReplacement(few, 5, 6), { code: 'conflict', message: /of the 5 .* 2 answer/ })
})
