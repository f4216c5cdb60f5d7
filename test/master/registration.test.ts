import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Init } from '../../proto/codec.ts'
import type { Launch, Register, TaskReport } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../support/test-master.ts'

type Test = { teardown(work: () => unknown): void }
type Launched = Launch & { readonly frameworkId: string; readonly taskId: string }

async function joined(t: Test, master: TestMaster, register: Init<Register> = {}, agentId?: string): Promise<ScriptedAgent> {
  const agent = new ScriptedAgent(master.agents, agentId)
  t.teardown(() => agent.close())
  await agent.join(master.token, register)
  return agent
}

const reportOf = (launch: Launched, more: Init<TaskReport>): Init<TaskReport> => {
  const { frameworkId, taskId, attempt, containerId, specDigest } = launch
  const ids = { frameworkId, taskId, attempt, containerId }
  const latest = { ...ids, state: more.state, number: 9, atMs: 500, ...more.latest }
  return { ...ids, role: '*', name: taskId, specDigest, ...more, latest }
}

/** Reads until the task is as wanted; the change itself comes from elsewhere. */
async function until(master: TestMaster, taskId: string, state: string): Promise<Record<string, unknown>> {
  for (;;) {
    const { body } = await master.call('GET', `/v1/tasks/${taskId}`)
    if (body.state === state) return body
    await pause(5)
  }
}

async function running(t: Test, master: TestMaster, more: object = {}): Promise<{ agent: ScriptedAgent; launch: Launched }> {
  const agent = await joined(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', ...more })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'running' })
  await agent.next('StatusAcknowledgement')
  return { agent, launch }
}

t.test('a task goes on while its agent is away, is shown as unreachable, and is back with it', async (t) => {
  const master = await startTestMaster({ heartbeatMs: 50, missedBeats: 4 })
  t.teardown(() => master.stop())
  const { agent, launch } = await running(t, master)
  agent.close()
  t.match(await until(master, 'a', 'unreachable'), { reason: 'agent_disconnected', nodeId: agent.agentId })
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { condition: 'agent_unreachable', connected: false })
  const refused = await master.call('DELETE', '/v1/tasks/a?force=true')
  t.match(refused, { status: 503, body: { error: { message: /out of reach/ } } })

  const back = await joined(t, master, { tasks: [reportOf(launch, { state: 'running' })] }, agent.agentId)
  t.match(await back.next('Kill'), { taskId: 'a', policy: { signal: 'SIGKILL' } }, 'what was asked for in the meantime is done')
  await until(master, 'a', 'running')
  t.equal(master.replica.state.agents.get(agent.agentId)?.condition, 'active')
  t.equal(back.count('Launch'), 0)
  back.status(launch, { state: 'killed', number: 10 })
  await until(master, 'a', 'killed')
})

t.test('an agent that stays away for longer than the cluster waits is gone, and its tasks end when it comes back', async (t) => {
  const master = await startTestMaster({ heartbeatMs: 50, missedBeats: 4, goneAfterMs: 100 })
  t.teardown(() => master.stop())
  const { agent, launch } = await running(t, master)
  agent.close()
  t.match(await until(master, 'a', 'gone'), { reason: 'agent_removed', nodeId: agent.agentId })
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { condition: 'agent_gone', connected: false, tasks: 0 })

  const back = new ScriptedAgent(master.agents, agent.agentId)
  t.teardown(() => back.close())
  back.hello(master.token)
  await back.next('Welcome')
  back.register({ tasks: [reportOf(launch, { state: 'running' })] })
  t.match(await back.next('Registered'), { wasGone: true }, 'it is told so')
  t.match(await back.next('Kill'), { taskId: 'a' }, 'nobody waits for what still runs there')
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { condition: 'active', connected: true })
  back.status(launch, { state: 'killed', number: 10 })
  t.match(await back.next('StatusAcknowledgement'), { number: 10 })
  t.match((await master.call('GET', '/v1/tasks/a')).body, { state: 'gone' }, 'the first ending stands')
})

t.test('an ending that happened while the agent was away is committed when it is back', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { agent, launch } = await running(t, master)
  agent.close()
  const report = reportOf(launch, { state: 'finished', latest: { exitCode: 0, reason: 'exited' } })
  await joined(t, master, { tasks: [report] }, agent.agentId)
  t.match((await master.call('GET', '/v1/tasks/a/wait')).body, { state: 'finished', exitCode: 0 })
})

t.test('a launch that the agent never got is sent again, the same attempt', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = await joined(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const lost = await agent.next('Launch')
  agent.close()
  const back = await joined(t, master, {}, agent.agentId)
  const again = await back.takeLaunch()
  t.same([again.containerId, again.attempt, again.specDigest], [lost.containerId, 1, lost.specDigest])
})

t.test('a launch without an answer is sent again, then given up by name of its stage', async (t) => {
  const master = await startTestMaster({ deliveryMs: 30 })
  t.teardown(() => master.stop())
  const agent = await joined(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', milliCpu: 2_000 })
  await agent.next('Launch')
  const launch = await agent.next('Launch')
  t.match((await master.call('GET', '/v1/tasks/a/wait')).body, { state: 'lost', reason: 'stage_timeout', message: /^delivery: / })
  t.match(await agent.next('Kill'), { taskId: 'a', policy: { signal: 'SIGKILL' } }, 'in case it runs after all')
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { tasks: 1 }, 'its resources count until the agent lets go')
  const ids = { frameworkId: 'hearth-tasks', taskId: 'a', attempt: 1, containerId: launch.containerId }
  const number = agent.status(ids, { state: 'killed' })
  t.same(await agent.next('StatusAcknowledgement'), { number, epoch: 1 })
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { tasks: 0, used: [] })
  t.match((await master.call('GET', '/v1/tasks/a')).body, { state: 'lost' }, 'the first ending stands')
})

t.test('a task that never starts is stopped by the long stop', async (t) => {
  const master = await startTestMaster({ deliveryMs: 30, startMs: 30 })
  t.teardown(() => master.stop())
  const agent = await joined(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'starting' })
  t.match((await master.call('GET', '/v1/tasks/a/wait')).body, { state: 'failed', reason: 'stage_timeout', message: /^start: / })
  t.match(await agent.next('Kill'), { taskId: 'a' })
})

t.test('a refused launch ends the task with the agent’s reason', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = await joined(t, master)
  const table = [
    ['image_unknown', 'failed', 'no image x'],
    ['task_invalid', 'error', 'bad mount'],
    ['unsupported_request', 'error', 'no such thing']
  ] as const
  for (const [reason, state, message] of table) {
    const taskId = reason.replaceAll('_', '-')
    await master.call('POST', '/v1/tasks', { name: taskId, image: 'x' })
    const { attempt } = await agent.next('Launch')
    agent.send('LaunchAnswer', { frameworkId: 'hearth-tasks', taskId, attempt, accepted: false, reason, message })
    t.match((await master.call('GET', `/v1/tasks/${taskId}/wait`)).body, { state, reason, message })
  }
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { tasks: 0 })
})

t.test('what the agent has and the master does not know is ended and forgotten', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const ids = { frameworkId: 'hearth-tasks', attempt: 1 }
  const live = {
    ...ids,
    taskId: 'live',
    containerId: newContainerId(),
    resources: [{ name: 'cpus', kind: 'scalar', scalar: 700 }]
  } as const
  const dead = { ...ids, taskId: 'dead', containerId: newContainerId() }
  const agent = await joined(t, master, {
    tasks: [
      { ...live, state: 'running' },
      { ...dead, state: 'finished' }
    ]
  })
  t.match(await agent.next('Kill'), { taskId: 'live', attempt: 1 })
  t.match(await agent.next('Forget'), { taskId: 'dead' })
  t.match((await master.call('GET', '/v1/nodes')).body.nodes[0].used, [{ name: 'cpus', scalar: 700 }], 'until it ends it counts')
  const number = agent.status(live, { state: 'killed' })
  t.same(await agent.next('StatusAcknowledgement'), { number, epoch: 1 })
  t.match(await agent.next('Forget'), { taskId: 'live' })
  t.same((await master.call('GET', '/v1/nodes')).body.nodes[0].used, [])
})

t.test('repeated and late statuses change nothing, and are acknowledged in order', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { agent, launch } = await running(t, master)
  const finished = agent.status(launch, { state: 'finished', exitCode: 0 })
  agent.status(launch, { state: 'finished', exitCode: 0, number: finished })
  agent.status(launch, { state: 'running', number: 1 })
  agent.status(launch, { state: 'failed', exitCode: 9, number: 40 })
  t.same(await agent.next('StatusAcknowledgement'), { number: finished, epoch: 1 })
  const rest = [(await agent.next('StatusAcknowledgement')).number, (await agent.next('StatusAcknowledgement')).number]
  t.same(rest, [1, 40])
  t.match((await master.call('GET', '/v1/tasks/a')).body, { state: 'finished', exitCode: 0 })
  t.equal(master.replica.changed.filter((c) => c.command.endTask !== null).length, 1, 'one ending is committed')
})

t.test('an ending whose commit is uncertain is repeated until it is known, and counted once', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { agent, launch } = await running(t, master)
  master.replica.fates.push('lose', 'lose', 'swallow')
  const number = agent.status(launch, { state: 'finished', exitCode: 0 })
  t.same(await agent.next('StatusAcknowledgement'), { number, epoch: 1 })
  t.match(
    master.replica.state.assignmentOf('hearth-tasks', 'a')?.ending,
    { state: 'finished' },
    'committed before it is acknowledged'
  )
  t.match((await master.call('GET', '/v1/tasks/a')).body, { state: 'finished' })
})

t.test('after the master’s own restart every task is where it was', async (t) => {
  const first = await startTestMaster()
  const { agent, launch } = await running(t, first)
  await first.call('POST', '/v1/tasks', { name: 'lost', image: 'host' })
  const undelivered = await agent.next('Launch')
  await first.call('POST', '/v1/tasks', { name: 'done', image: 'host', removeWhenDone: false })
  const done = await agent.takeLaunch()
  agent.status(done, { state: 'finished', exitCode: 0 })
  await first.call('GET', '/v1/tasks/done/wait')
  await first.stop()

  const second = await startTestMaster({}, first.replica)
  t.teardown(() => second.stop())
  t.match((await second.call('GET', '/v1/tasks/a')).body, {
    state: 'unknown',
    message: /its node has not reported to this leader yet/,
    nodeId: agent.agentId
  })
  t.match((await second.call('GET', '/v1/tasks/done')).body, { state: 'finished', exitCode: 0 })
  const tasks = [reportOf(launch, { state: 'running' }), reportOf(done, { state: 'finished' })]
  const back = await joined(t, second, { tasks }, agent.agentId)
  await until(second, 'a', 'running')
  const again = await back.takeLaunch()
  t.match(again, { taskId: 'lost', attempt: 2 }, 'what provably never reached the agent is launched as a new attempt')
  t.not(again.containerId, undelivered.containerId)
  t.equal(back.count('Kill'), 0)
  t.equal(back.count('Forget'), 0)
})

t.test('a clone of a connected agent is refused with a sentence, and the first one goes on', async (t) => {
  const master = await startTestMaster({ heartbeatMs: 200, missedBeats: 5 })
  t.teardown(() => master.stop())
  const first = await joined(t, master, { hostname: 'one', incarnation: 'a' })
  const clone = new ScriptedAgent(master.agents, first.agentId)
  t.teardown(() => clone.close())
  clone.hello(master.token)
  await clone.next('Welcome')
  clone.register({ hostname: 'two', incarnation: 'b' })
  const refusal = await clone.next('Refusal')
  t.match(refusal, { code: 'conflict', duplicate: true, message: /from host one.*if two is a clone/ })
  t.equal((await master.call('GET', '/v1/nodes')).body.nodes[0].hostname, 'one')
  t.ok((await master.call('GET', '/v1/nodes')).body.nodes[0].connected)
})

t.test(
  'an agent whose connection broke unseen takes its seat back at once, and another process once the old one is silent',
  async (t) => {
    const master = await startTestMaster({ heartbeatMs: 200, missedBeats: 5 })
    t.teardown(() => master.stop())
    const first = await joined(t, master, { hostname: 'one', incarnation: 'a' })
    const same = await joined(t, master, { hostname: 'renamed', incarnation: 'a' }, first.agentId)
    t.equal((await master.call('GET', '/v1/nodes/renamed')).body.nodeId, first.agentId, 'a changed host name is accepted')
    same.hush()
    const next = await joined(t, master, { hostname: 'renamed', incarnation: 'b' }, first.agentId)
    t.equal((await master.call('GET', '/v1/nodes')).body.nodes.length, 1)
    t.ok(next)
  }
)

t.test(
  'a node that shrank below its tasks is accepted, told as over-committed, and gets nothing new until they fit',
  async (t) => {
    const master = await startTestMaster()
    t.teardown(() => master.stop())
    const { agent, launch } = await running(t, master, { milliCpu: 1_500 })
    agent.close()
    const cpus = (scalar: number) => [
      { name: 'cpus', kind: 'scalar' as const, scalar },
      { name: 'mem', kind: 'scalar' as const, scalar: 2 ** 33 }
    ]
    const resources = launch.group?.tasks[0]?.resources ?? []
    const tasks = [reportOf(launch, { state: 'running', resources })]
    await seatFree(master)
    const back = await joined(t, master, { tasks, resources: cpus(1_000) }, agent.agentId)
    t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { overCommitted: true, connected: true })
    await master.call('POST', '/v1/tasks', { name: 'b', image: 'host', milliCpu: 100 })
    await until(master, 'a', 'running')
    t.equal(back.count('Kill'), 0, 'what runs goes on')
    t.equal(back.count('Launch'), 0, 'nothing new comes')
    back.close()
    await seatFree(master)
    const grown = await joined(t, master, { tasks, resources: cpus(4_000) }, agent.agentId)
    t.match((await master.call('GET', '/v1/nodes')).body.nodes[0], { overCommitted: false })
    t.match(await grown.takeLaunch(), { taskId: 'b' })
  }
)

async function seatFree(master: TestMaster): Promise<void> {
  while ((await master.call('GET', '/v1/nodes')).body.nodes[0].connected) await pause(5)
}
