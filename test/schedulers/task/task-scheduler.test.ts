import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { encodeMessage } from '../../../proto/codec.ts'
import { MemoryReplica } from '../../support/memory-replica.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'
import { until } from '../../support/until.ts'

type Test = { teardown(work: () => unknown): void }

type Launched = Awaited<ReturnType<ScriptedAgent['takeLaunch']>>

async function withAgent(t: Test, master: TestMaster): Promise<ScriptedAgent> {
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  return agent
}

t.test('a task that removes itself can be read for a while and is then gone everywhere', async (t) => {
  const master = await startTestMaster({}, new MemoryReplica(), { removeAfterMs: 100 })
  t.teardown(() => master.stop())
  const agent = await withAgent(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', removeWhenDone: true })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'finished', exitCode: 0 })
  t.match((await master.call('GET', '/v1/tasks/a/wait')).body, { state: 'finished', removeWhenDone: true })
  t.match(await agent.next('Forget'), { taskId: 'a' })
  t.equal((await master.call('GET', '/v1/tasks/a')).status, 404)
  t.equal(master.replica.state.assignments.size, 0)
  t.equal(master.replica.state.storeOf('hearth-tasks').size, 0)
  t.equal((await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })).status, 201, 'its name is free')
})

t.test('of the ended ones only so many are kept, the oldest go first', async (t) => {
  const master = await startTestMaster({}, new MemoryReplica(), { keepEnded: 2 })
  t.teardown(() => master.stop())
  const agent = await withAgent(t, master)
  for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) {
    await master.call('POST', '/v1/tasks', { name, image: 'host' })
    const launch = await agent.takeLaunch()
    agent.status(launch, { state: 'finished', exitCode: 0, atMs: i })
    await agent.next('StatusAcknowledgement')
  }
  t.match(await agent.next('Forget'), { taskId: 'a' })
  t.match(await agent.next('Forget'), { taskId: 'b' })
  const { body } = await master.call('GET', '/v1/tasks')
  t.same(
    body.tasks.map((task: { readonly taskId: string }) => task.taskId),
    ['c', 'd']
  )
})

t.test('a removal that a crash cut short is finished at the next start', async (t) => {
  const first = await startTestMaster()
  const agent = await withAgent(t, first)
  await first.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'finished', exitCode: 0 })
  await first.call('GET', '/v1/tasks/a/wait')
  await first.stop()
  const writes = [{ key: 'task/a', value: new Uint8Array(), remove: true }]
  await first.replica.propose('', 0, { storeTransaction: { frameworkId: 'hearth-tasks', writes } })
  t.equal(first.replica.state.assignments.size, 1)

  const second = await startTestMaster({}, first.replica)
  t.teardown(() => second.stop())
  while (first.replica.state.assignments.size > 0) await pause(5)
  t.same((await second.call('GET', '/v1/tasks')).body, { tasks: [] })
})

t.test('a kill that was committed before a crash is carried out after it', async (t) => {
  const first = await startTestMaster()
  const agent = await withAgent(t, first)
  await first.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'running' })
  await agent.next('StatusAcknowledgement')
  await first.call('POST', '/v1/tasks/a/kill', { signal: 'SIGHUP', graceMs: 9 })
  await first.stop()

  const second = await startTestMaster({}, first.replica)
  t.teardown(() => second.stop())
  const back = new ScriptedAgent(second.agents, agent.agentId)
  t.teardown(() => back.close())
  const { frameworkId, taskId, attempt, containerId } = launch
  const ids = { frameworkId, taskId, attempt, containerId }
  await back.join(second.token, { tasks: [{ ...ids, state: 'running', latest: { ...ids, state: 'running', number: 1 } }] })
  t.match(await back.next('Kill'), { taskId: 'a', policy: { signal: 'SIGHUP', graceMs: 9 } })
})

t.test('a wish that was committed before a crash is launched after it', async (t) => {
  const first = await startTestMaster()
  await first.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  await first.stop()
  const second = await startTestMaster({}, first.replica)
  t.teardown(() => second.stop())
  const agent = await withAgent(t, second)
  t.match(await agent.takeLaunch(), { taskId: 'a', attempt: 1 })
})

t.test('a stored wish that cannot be read is told, the others live on', async (t) => {
  const first = await startTestMaster()
  await first.call('POST', '/v1/tasks', { name: 'good', image: 'host' })
  await first.stop()
  const writes = [
    { key: 'task/empty', value: encodeMessage('TaskWish', {}), remove: false },
    { key: 'task/garbage', value: Buffer.from([0xff, 0xff, 0xff]), remove: false }
  ]
  await first.replica.propose('', 0, { storeTransaction: { frameworkId: 'hearth-tasks', writes } })
  const second = await startTestMaster({}, first.replica)
  t.teardown(() => second.stop())
  const { body } = await second.call('GET', '/v1/tasks')
  t.same(
    body.tasks.map((task: { readonly taskId: string }) => task.taskId),
    ['good']
  )
})

t.test('of tasks that wait, the one whose role holds less is placed first, whoever came first', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = await withAgent(t, master)
  const run = (name: string, role?: string) => master.call('POST', '/v1/tasks', { name, image: 'host', milliCpu: 1_000, role })
  const end = (launch: Launched): unknown => agent.status(launch, { state: 'finished', exitCode: 0 })
  t.match(await run('a', 'shop/web'), { status: 201, body: { role: 'shop/web' } })
  const first = await agent.takeLaunch()
  t.match(first.group, { role: 'shop/web' })
  await run('b')
  const filler = await agent.takeLaunch()
  t.match(filler.group, { role: '*' })
  await run('c', 'shop/web')
  await run('d', 'zoo')
  await until(() => /^waits for free resources/.test(master.master.tasks.get('d')?.message ?? ''))

  end(filler)
  const poor = await agent.takeLaunch()
  t.match(poor, { taskId: 'd', group: { role: 'zoo' } })
  end(first)
  t.match(await agent.takeLaunch(), { taskId: 'c', group: { role: 'shop/web' } })
  end(poor)
  await agent.next('StatusAcknowledgement')

  const named = async (query: string): Promise<readonly string[]> =>
    (await master.call('GET', `/v1/tasks${query}`)).body.tasks.map((task: { readonly name: string }) => task.name)
  t.same(await named(''), ['a', 'b', 'c', 'd'])
  t.same(await named('?role=shop%2Fweb'), ['a', 'c'])
  t.same(await named('?role=*'), ['b'])
  t.match(await master.call('GET', '/v1/tasks?role=..'), { status: 400, body: { error: { message: /^a role is/ } } })
})

t.test('tasks of so many roles may live at once, and no more roles', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  for (let i = 0; i < 100; i += 1) {
    t.equal((await master.call('POST', '/v1/tasks', { image: 'host', role: `r${i}` })).status, 201)
  }
  t.match(await master.call('POST', '/v1/tasks', { image: 'host', role: 'another' }), {
    status: 429,
    body: { error: { code: 'exhausted', message: /^tasks of 100 roles live already/ } }
  })
  t.equal((await master.call('POST', '/v1/tasks', { image: 'host', role: 'r7' })).status, 201)
  t.equal((await master.call('POST', '/v1/tasks', { image: 'host' })).status, 201)
})
