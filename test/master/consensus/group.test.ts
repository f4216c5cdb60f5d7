import t, { type Test } from 'tap'
import { raftFacts } from '../../../master/consensus/raft-facts.ts'
import { message } from '../../../master/raft/message.ts'
import { content, decide, framework, put, type ReplicaUnderTest, replicaContract } from '../../contract/replica.ts'
import type { LinkFaults } from '../../support/memory-peers.ts'
import { ReplicaGroup } from '../../support/replica-group.ts'
import { until } from '../../support/until.ts'

const ids = [1, 2, 3]
const flawed: LinkFaults = { loss: 3, duplication: 10, maxDelayMs: 3 }

async function openAll(group: ReplicaGroup): Promise<void> {
  const founders = ids.map((id) => group.member(id))
  for (const id of ids) await group.open(id, founders)
  // Rather than wait for the first election timeout, in every test.
  group.replicas[0]?.host.tell(message('campaign', 0))
}

async function underTest(group: ReplicaGroup): Promise<ReplicaUnderTest> {
  const replica = await group.leader()
  return {
    replica,
    state: replica.state,
    stop: () => replica.close(),
    async restart() {
      await group.stop()
      await openAll(group)
      return await underTest(group)
    }
  }
}

t.test('three voters over links that lose, double and delay keep the contract', async (t) => {
  replicaContract(t, async (t) => {
    const group = await ReplicaGroup.make(t, flawed, { snapshotEveryBytes: 8 * 1024 })
    await openAll(group)
    return await underTest(group)
  })
})

async function three(t: Test): Promise<ReplicaGroup> {
  const group = await ReplicaGroup.make(t, undefined, { snapshotEveryBytes: 4 * 1024, trailingEntries: 5, tailBytes: 1024 })
  await openAll(group)
  return group
}

const idOf = ({ host }: { readonly host: { readonly raft: { readonly options: { readonly id: number } } | undefined } }) =>
  host.raft?.options.id ?? 0

t.test('a leader that is cut off knows nothing, another takes over, and the first one follows it', async (t) => {
  const group = await three(t)
  const first = await group.leader()
  await decide(first, 'a', 1, framework('f'))
  group.peers.cut(idOf(first))
  const lost = first.propose('a', 2, put('f', 'k', 1), new AbortController().signal)
  await until(() => group.replicas.some((replica) => replica !== first && replica.leadership.leading))
  t.same(await lost, { kind: 'unknown' })
  t.match(await first.propose('a', 2, put('f', 'k', 1), new AbortController().signal), { kind: 'not-leader' })
  const second = await group.leader()
  t.ok(second.leadership.term > first.leadership.term)
  await decide(second, 'a', 2, put('f', 'k', 1))
  await decide(second, 'a', 3, put('f', 'k', 2))
  const read = first.read(new AbortController().signal)
  group.peers.heal()
  t.ok((await read) >= second.state.index)
  t.same(first.state.storeOf('f').get('k')?.value, Uint8Array.of(2))
  t.equal(content(first.state), content(second.state))
})

t.test('a follower that was away for longer than the log reaches back gets a snapshot', async (t) => {
  const group = await three(t)
  const leader = await group.leader()
  const away = ids.find((id) => id !== idOf(leader)) ?? 0
  await decide(leader, 'a', 1, framework('f'))
  await group.close(away)
  for (let i = 1; i <= 300; i += 1) await decide(leader, 'b', i, put('f', `k${i % 10}`, i % 256))
  const back = await group.open(
    away,
    ids.map((id) => group.member(id))
  )
  await back.read(new AbortController().signal)
  t.equal(content(back.state), content(leader.state))
  await t.rejects(back.changes(1, new AbortController().signal)[Symbol.asyncIterator]().next(), { code: 'exhausted' })
  await group.close(away)
  const again = await group.open(
    away,
    ids.map((id) => group.member(id))
  )
  await again.read(new AbortController().signal)
  t.equal(content(again.state), content(leader.state), 'also after a restart')
})

t.test('a leader tells how far each member is, a follower whom it follows', async (t) => {
  const group = await three(t)
  const leader = await group.leader()
  const { index } = await decide(leader, 'a', 1, framework('f'))
  await until(() => raftFacts(leader.host).members.every((member) => (member.progress?.match ?? 0) >= index))
  const facts = raftFacts(leader.host)
  t.match(facts, { role: 'leader', leader: idOf(leader), term: leader.leadership.term, isDiskFull: false })
  t.same(
    facts.members.map(({ raftId, role, progress }) => [raftId, role, progress?.state, progress?.isActive]),
    ids.map((id) => [id, 'voter', 'replicate', true])
  )
  const follower = group.replicas.find((replica) => replica !== leader)
  if (follower === undefined) throw new Error('nobody follows')
  await follower.read(new AbortController().signal)
  t.match(raftFacts(follower.host), { role: 'follower', leader: idOf(leader), members: [{ progress: null }, {}, {}] })
})
