import t from 'tap'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { TaskStatus, TaskWish } from '../../../proto/gen/messages.ts'
import { taskStates } from '../../../proto/task-state.ts'
import { decide, surplus } from '../../../schedulers/task/decide.ts'
import { type TaskRecord, viewOf } from '../../../schedulers/task/task-view.ts'

const record = (wish: Init<TaskWish>, status: Init<TaskStatus> | null, more: Partial<TaskRecord> = {}): TaskRecord => ({
  taskId: 'a',
  definition: completeMessage('TaskDefinition', { taskId: 'a' }),
  role: '*',
  wish: completeMessage('TaskWish', wish),
  version: 1,
  status: status === null ? null : completeMessage('TaskStatus', { attempt: 1, containerId: 'c', agentId: 'n', ...status }),
  startedAtMs: null,
  launching: false,
  waits: 'waits for a node',
  ...more
})

/** One that failed, and may have four attempts. */
const leased = (mode: 'never' | 'on_failure' | 'always', status: Init<TaskStatus>, wish: Init<TaskWish> = {}): TaskRecord => {
  const definition = completeMessage('TaskDefinition', {
    taskId: 'a',
    lease: { lengthMs: 9_000 },
    restart: { mode, maxAttempts: 4 }
  })
  return record(wish, { state: 'failed', ...status }, { definition })
}

const kill = { signal: 'SIGTERM', graceMs: 1 }

t.test('what is to be done about a wish', async (t) => {
  const table: readonly [string, TaskRecord, string][] = [
    ['a new one wants an offer', record({}, null), 'launch'],
    ['one whose acceptance is under way waits', record({}, null, { launching: true }), 'none'],
    ['one that is on its node needs nothing', record({}, { state: 'staging' }), 'none'],
    ['one that runs needs nothing', record({}, { state: 'running' }), 'none'],
    ['one out of reach is not started again', record({}, { state: 'unreachable' }), 'none'],
    ['one that failed is not started again', record({}, { state: 'failed' }), 'none'],
    ['one that is gone is not started again', record({}, { state: 'gone' }), 'none'],
    ['one that was lost is not started again', record({}, { state: 'lost' }), 'none'],
    ['one whose lease ran out is where it may be restarted', leased('always', { reason: 'lease_expired' }), 'launch'],
    ['not where it is to end', leased('always', { reason: 'lease_expired' }, { kill }), 'none'],
    ['not more often than it may', leased('on_failure', { reason: 'lease_expired', attempt: 4 }), 'none'],
    ['not where it may not be restarted', leased('never', { reason: 'lease_expired' }), 'none'],
    ['not where it ended by itself', leased('always', { reason: 'exited' }), 'none'],
    [
      'one that waits for a lease waits however long',
      record({}, { state: 'dropped', reason: 'lease_refused', attempt: 9 }),
      'launch'
    ],
    ['one dropped on its way is', record({}, { state: 'dropped' }), 'launch'],
    ['but not for ever', record({}, { state: 'dropped', attempt: 3 }), 'none'],
    ['a kill goes to the node', record({ kill }, { state: 'running' }), 'kill'],
    ['also to one that is out of reach, for when it is back', record({ kill }, { state: 'unreachable' }), 'kill'],
    ['a kill before any placement ends it', record({ kill }, null), 'end-unlaunched'],
    ['a kill while it is being placed waits for the outcome', record({ kill }, null, { launching: true }), 'none'],
    ['a kill of one dropped on its way leaves it dropped', record({ kill }, { state: 'dropped' }), 'none'],
    ['a kill of an ended one is void', record({ kill }, { state: 'finished' }), 'none'],
    ['an ended one that removes itself', record({ removeWhenDone: true }, { state: 'finished' }), 'remove-later'],
    ['one that ended without ever running', record({ ending: { state: 'killed' } }, null), 'none'],
    ['the same, removing itself', record({ ending: { state: 'killed' }, removeWhenDone: true }, null), 'remove-later']
  ]
  for (const [name, given, step] of table) t.equal(decide(given).kind, step, name)
})

t.test('only a wish without a placement ever wants a launch', async (t) => {
  for (const state of taskStates) {
    const { kind } = decide(record({}, { state }))
    t.equal(kind === 'launch', state === 'dropped', state)
  }
})

t.test('a view tells one story', async (t) => {
  t.match(viewOf(record({}, null)), { state: 'staging', message: 'waits for a node', endedAtMs: null, status: null })
  t.match(viewOf(record({}, { state: 'dropped' }, { waits: 'again' })), { state: 'staging', message: 'again', endedAtMs: null })
  t.match(viewOf(record({}, { state: 'staging' })), { state: 'staging' })
  t.match(viewOf(record({}, { state: 'staging', reason: 'agent_unheard' })), { state: 'unknown', endedAtMs: null })
  t.match(viewOf(record({}, { state: 'failed', atMs: 7 })), { state: 'failed', endedAtMs: 7 })
  t.match(viewOf(record({ ending: { state: 'killed', atMs: 9 } }, null)), { state: 'killed', endedAtMs: 9 })
})

t.test('beyond what is kept, the oldest ended ones go', async (t) => {
  const at = (taskId: string, atMs: number, state: TaskStatus['state'] = 'finished'): TaskRecord =>
    record({}, { state, atMs }, { taskId })
  t.same(surplus([at('a', 3), at('b', 1), at('c', 2), at('d', 0, 'running')], 1), ['b', 'c'])
  t.same(surplus([at('a', 3), at('b', 1)], 2), [])
})
