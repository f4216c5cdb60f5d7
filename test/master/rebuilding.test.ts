import t from 'tap'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { Proposer } from '../../master/proposer.ts'
import { Rebuilding } from '../../master/rebuilding.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskReport } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { MemoryReplica } from '../support/memory-replica.ts'

const never = new AbortController().signal

async function rebuilding() {
  const replica = new MemoryReplica()
  await replica.propose('', 0, { initCluster: { clusterId: 'c' } })
  await replica.propose('', 0, { registerFramework: { framework: { frameworkId: 'f' } } })
  for (const agentId of ['a', 'b']) await replica.propose('', 0, { registerAgent: { agentId } })
  const order: string[] = []
  const { state } = replica
  const room = new Rebuilding({
    state,
    proposer: new Proposer({ replica, clock: systemClock }, { sessions: 2, waiting: 8, repeatMs: 5 }),
    log: silentLog,
    leased: () => undefined,
    wish: async (taskId) => void order.push(`${taskId} wished, ${state.assignmentOf('f', taskId) ? 'assigned' : 'not assigned'}`)
  })
  return { room, state, order }
}

const report = (taskId: string, more: Init<TaskReport> = {}): TaskReport =>
  completeMessage('TaskReport', {
    ...{ frameworkId: 'f', taskId, attempt: 1, containerId: newContainerId(), role: '*', state: 'running' },
    group: { frameworkId: 'f', tasks: [{ taskId }] },
    ...more
  })

t.test('a task is assigned before it is wished for: it could be launched again in between', async (t) => {
  const { room, state, order } = await rebuilding()
  const seen = report('t')
  await room.take('a', [seen], never)
  t.same(order, ['t wished, assigned'])
  t.match(state.assignmentOf('f', 't')?.assignment, { agentId: 'a', containerId: seen.containerId, attempt: 1 })
})

t.test('of two nodes that report the same task the later attempt counts, whichever comes first', async (t) => {
  for (const order of [
    [1, 2],
    [2, 1]
  ]) {
    const { room, state } = await rebuilding()
    for (const attempt of order) await room.take(`${attempt === 1 ? 'a' : 'b'}`, [report('t', { attempt })], never)
    t.match(state.assignmentOf('f', 't')?.assignment, { agentId: 'b', attempt: 2 })
    t.notOk(room.leaves({ frameworkId: 'f', taskId: 't' }), 'the other one is ended as ever')
  }
})

t.test('what is known is left to the log, and what nobody can tell of is left alone', async (t) => {
  const { room, state, order } = await rebuilding()
  const first = report('t')
  await room.take('a', [first], never)
  await room.take('a', [report('t')], never)
  t.equal(state.assignmentOf('f', 't')?.assignment.containerId, first.containerId)
  await room.take('a', [report('lost', { group: null }), report('foreign', { frameworkId: 'g' })], never)
  t.equal(state.assignments.size, 1)
  t.same(order, ['t wished, assigned'])
  t.ok(room.leaves({ frameworkId: 'f', taskId: 'lost' }))
  t.ok(room.leaves({ frameworkId: 'g', taskId: 'foreign' }))
})
