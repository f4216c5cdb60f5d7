import { join } from 'node:path'
import t from 'tap'
import { silentLog } from '../../../base/log.ts'
import { systemDisk } from '../../../master/store/disk.ts'
import { Wal } from '../../../master/store/wal.ts'
import { encodeMessage } from '../../../proto/codec.ts'
import { content, decide, framework, put } from '../../contract/replica.ts'
import { ReplicaGroup } from '../../support/replica-group.ts'

/** What a master wrote for which there was no Raft: entries without a type, a vote by name, no members anywhere. */
async function writeOldLog(group: ReplicaGroup): Promise<void> {
  const { nodeId } = group.member(1)
  const { clusterId } = group
  const directory = join(group.directory(1), 'wal')
  await systemDisk.makeDirectory(group.directory(1))
  const wal = new Wal(
    { disk: systemDisk, log: silentLog },
    { directory, clusterId, nodeId, segmentBytes: 64 * 1024, keepAfter: 0 }
  )
  await wal.open()
  await wal.saveHardState({ term: 1, votedFor: nodeId, commit: 0 })
  const commands = [{}, { atMs: 5, initCluster: { clusterId } }, { atMs: 6, ...framework('f') }]
  for (let i = 0; i < 40; i += 1) {
    const filled = commands[i] ?? { atMs: i, ...put('f', `k${i % 7}`, i) }
    await wal.append([{ term: 1, index: i + 1, data: i === 0 ? new Uint8Array() : encodeMessage('Command', filled) }])
  }
  await wal.close()
}

t.test('the log of a master that was alone opens as the first of three, who have all of it', async (t) => {
  const group = await ReplicaGroup.make(t)
  await writeOldLog(group)
  const first = await group.open(1)
  t.ok(first.leadership.leading)
  t.equal(first.leadership.term, 2)
  t.same(first.state.storeOf('f').get('k4')?.value, Uint8Array.of(39))
  await first.snapshot()
  for (const id of [2, 3]) {
    const newcomer = await group.open(id)
    t.notOk(newcomer.leadership.leading, 'an empty master does not lead')
    const learned = await first.changeMembers([{ type: 'add-learner', nodeId: id }], [group.member(id)])
    t.same(learned.learners, [id])
    const { voters, members } = await first.changeMembers([{ type: 'add-voter', nodeId: id }], [])
    t.ok(voters.includes(id))
    t.same(members.at(-1), group.member(id))
    await newcomer.read(new AbortController().signal)
    t.equal(content(newcomer.state), content(first.state))
  }
  const before = content(first.state)
  await group.close(1)
  const second = await group.leader()
  t.equal(content(second.state), before)
  await decide(second, 'b', 1, put('f', 'late', 1))
  const back = await group.open(1)
  await back.read(new AbortController().signal)
  t.equal(content(back.state), content(second.state))
  await group.stop()
  for (const id of [1, 2, 3]) await group.open(id)
  const third = await group.leader()
  t.same(third.state.storeOf('f').get('late')?.value, Uint8Array.of(1))
})

t.test('two changes of the members at a time are one, and a follower makes none', async (t) => {
  const group = await ReplicaGroup.make(t)
  const first = await group.open(1)
  const second = await group.open(2)
  const both = await Promise.allSettled(
    [2, 3].map((id) => first.changeMembers([{ type: 'add-learner', nodeId: id }], [group.member(id)]))
  )
  t.same(both.map((one) => one.status).sort(), ['fulfilled', 'rejected'])
  await t.rejects(second.changeMembers([{ type: 'remove', nodeId: 1 }], []), { code: 'not-leader' })
})
