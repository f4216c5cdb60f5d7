import t from 'tap'
import { assignedContainer, taskStatusOf } from '../../master/attempts.ts'
import { checkGroup } from '../../master/launch-check.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { Launch } from '../../proto/gen/messages.ts'
import { usualPolicy } from '../../proto/tenant-policy.ts'
import { MemoryReplica } from '../support/memory-replica.ts'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster } from '../support/test-master.ts'

const end = completeMessage('TaskStatus', {
  taskId: 't',
  attempt: 2,
  containerId: 'c2',
  assignedContainerId: 'c1',
  state: 'failed',
  reason: 'exited',
  message: 'ended with exit code 3',
  exitCode: 3,
  atMs: 50,
  startedAtMs: 40,
  number: 9,
  willRestart: true,
  earlierAttempts: [{ attempt: 1, containerId: 'c1', state: 'failed', reason: 'signaled', signal: 9, endedAtMs: 30 }]
})

t.test('an attempt that is followed by another leaves its task starting, with its end among the earlier ones', async (t) => {
  const status = taskStatusOf(end)
  t.match(status, { state: 'starting', reason: 'exited', attempt: 2, number: 9, startedAtMs: 0 })
  t.equal(status.exitCode, undefined, 'the task has no exit code yet')
  t.equal(status.message, 'attempt 2 ended with exit code 3; it starts again')
  t.match(status.earlierAttempts, [
    { attempt: 1, signal: 9 },
    { attempt: 2, containerId: 'c2', state: 'failed', exitCode: 3, startedAtMs: 40, endedAtMs: 50 }
  ])
  t.equal(taskStatusOf({ ...end, willRestart: false }).state, 'failed', 'any other end stands')
})

t.test('only so many earlier ends are told, the last ones', async (t) => {
  const many = Array.from({ length: 10 }, (_, i) => completeMessage('AttemptEnd', { attempt: i + 1 }))
  const told = taskStatusOf({ ...end, attempt: 11, earlierAttempts: many }).earlierAttempts
  t.same(
    told.map((a) => a.attempt),
    [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
  )
})

t.test('a status names its assignment, or is its own', async (t) => {
  t.equal(assignedContainer(end), 'c1')
  t.equal(assignedContainer({ containerId: 'c1', assignedContainerId: '' }), 'c1')
})

const restart = { policy: 'on-failure', maxAttempts: 3, backoffMs: 10 }
const attempt = (launch: Launch & { readonly frameworkId: string; readonly taskId: string }, n: number) => ({
  frameworkId: launch.frameworkId,
  taskId: launch.taskId,
  attempt: n,
  containerId: n === 1 ? launch.containerId : `${n}`.repeat(32)
})

t.test('ends of attempts are applied in order and once, and only the last one ends the task', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  t.equal((await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', restart })).status, 201)
  const launch = await agent.takeLaunch()
  t.match(launch.group?.tasks[0]?.restart, { mode: 'on_failure', maxAttempts: 3, backoffMs: 10 })
  const assigned = { assignedContainerId: launch.containerId }
  const acknowledged = async (number: number): Promise<void> => {
    while ((await agent.next('StatusAcknowledgement')).number !== number);
  }
  const first = { state: 'failed', reason: 'exited', exitCode: 1, willRestart: true, startedAtMs: 5, atMs: 9 } as const
  agent.status(attempt(launch, 1), { ...assigned, state: 'running', atMs: 5, startedAtMs: 5 })
  const ended = agent.status(attempt(launch, 1), { ...assigned, ...first })
  await acknowledged(ended)
  t.match((await master.call('GET', '/v1/tasks/a')).body, {
    state: 'starting',
    endedAtMs: null,
    exitCode: null,
    restart: 'on-failure',
    attempts: [{ attempt: 1, state: 'failed', exitCode: 1, startedAtMs: 5, endedAtMs: 9 }]
  })
  const earlierAttempts = [{ attempt: 1, containerId: launch.containerId, state: 'failed', exitCode: 1, endedAtMs: 9 }] as const
  await acknowledged(
    agent.status(attempt(launch, 2), { ...assigned, state: 'running', earlierAttempts, startedAtMs: 20, atMs: 20 })
  )
  agent.send('TaskStatus', { ...attempt(launch, 1), ...assigned, ...first, number: ended })
  await acknowledged(ended)
  t.match(
    (await master.call('GET', '/v1/tasks/a')).body,
    {
      state: 'running',
      attempt: 2,
      startedAtMs: 20,
      attempts: [{ attempt: 1 }, { attempt: 2, state: 'running', endedAtMs: null }]
    },
    'a repeat changes nothing'
  )
  await master.call('POST', '/v1/tasks/a/kill', {})
  t.match(await agent.next('Kill'), { attempt: 1 }, 'a kill names the assignment')
  const waiting = master.call('GET', '/v1/tasks/a/wait')
  agent.status(attempt(launch, 2), { ...assigned, state: 'killed', reason: 'kill_requested', earlierAttempts, atMs: 30 })
  t.match((await waiting).body, { state: 'killed', attempt: 2, attempts: [{ attempt: 1 }, { attempt: 2, state: 'killed' }] })
  const row = master.replica.state.assignmentOf('hearth-tasks', 'a')
  t.match(row, { assignment: { attempt: 1 }, ending: { attempt: 2, state: 'killed', earlierAttempts: [{ exitCode: 1 }] } })
})

t.test('a new master learns every attempt from the registration of the node', async (t) => {
  const replica = new MemoryReplica()
  const first = await startTestMaster({}, replica)
  const agent = new ScriptedAgent(first.agents)
  await agent.join(first.token)
  await first.call('POST', '/v1/tasks', { name: 'a', image: 'host', restart })
  const launch = await agent.takeLaunch()
  agent.close()
  await first.stop()
  const second = await startTestMaster({}, replica)
  t.teardown(() => second.stop())
  const again = new ScriptedAgent(second.agents, agent.agentId)
  t.teardown(() => again.close())
  const { frameworkId, taskId, containerId } = launch
  const latest = { ...end, frameworkId, taskId, assignedContainerId: containerId, containerId: '2'.repeat(32) }
  await again.join(second.token, {
    tasks: [{ frameworkId, taskId, attempt: 1, containerId, role: '*', name: 'a', state: 'starting', latest }]
  })
  t.match((await second.call('GET', '/v1/tasks/a')).body, {
    state: 'starting',
    attempts: [
      { attempt: 1, signal: 9 },
      { attempt: 2, exitCode: 3, state: 'failed' }
    ]
  })
  t.equal(again.count('Kill'), 0)
  t.equal(again.count('Forget'), 0)
})

const bad: readonly (readonly [string, object, RegExp])[] = [
  ['a word that is no policy', { restart: { policy: 'sometimes' } }, /restart/],
  ['numbers for never', { restart: { policy: 'never', maxAttempts: 2 } }, /never takes no numbers/],
  ['no attempt at all', { restart: { policy: 'always', maxAttempts: 0 } }, /maxAttempts/],
  [
    'a most below the first',
    { restart: { policy: 'always', backoffMs: 9, maxBackoffMs: 8 } },
    /maxBackoffMs \(8\) must be at least/
  ],
  ['a probe of nothing', { probes: { liveness: {} } }, /exactly one of http, tcp and command, and has none/],
  ['a probe of two things', { probes: { readiness: { tcp: { port: 1 }, command: ['a'] } } }, /has tcp and command/],
  ['a port that is none', { probes: { liveness: { tcp: { port: 70_000 } } } }, /port/],
  ['a path without its slash', { probes: { liveness: { http: { port: 80, path: 'x' } } } }, /slash/],
  [
    'a port without a network',
    { network: 'none', probes: { startup: { tcp: { port: 80 } } } },
    /give its startup probe a command/
  ],
  ['a probe of another name', { probes: { health: { tcp: { port: 80 } } } }, /health/]
]

t.test('a request that makes no sense is refused in one sentence', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  for (const [name, more, sentence] of bad) {
    const { status, body } = await master.call('POST', '/v1/tasks', { image: 'host', ...more })
    t.equal(status, 400, name)
    t.match(body.error.message, sentence, name)
  }
})

t.test('first-party tasks may be restarted in place', async (t) => {
  const group = completeMessage('TaskGroup', {
    frameworkId: 'f',
    role: '*',
    tasks: [{ taskId: 'a', restart: { mode: 'always' } }]
  })
  t.match(
    checkGroup(group, {
      frameworkId: 'f',
      role: '*',
      resources: [],
      restarts: true,
      leases: true,
      policy: usualPolicy,
      capabilities: []
    }),
    {
      kind: 'fits'
    }
  )
})
