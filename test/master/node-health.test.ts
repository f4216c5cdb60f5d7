import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster } from '../support/test-master.ts'

const problem = { kind: 'disk', subject: '/d', verdict: 'FAILURE', reason: 'full', remedy: 'make room' }
const unfit = { verdict: 'FAILURE', refusesLaunches: true, problems: [problem] }
const fit = { verdict: 'WARNING', refusesLaunches: false, problems: [{ ...problem, verdict: 'WARNING' }] }

async function master(t: Test) {
  const started = await startTestMaster()
  t.teardown(() => started.stop())
  const node = async (agentId: string) => (await started.call('GET', `/v1/nodes/${agentId}`)).body
  const untilNode = async (agentId: string, holds: (node: { readonly health: typeof fit | null }) => boolean) => {
    while (!holds(await node(agentId))) await pause(5)
  }
  const join = async (health: typeof fit | null, agentId?: string) => {
    const agent = new ScriptedAgent(started.agents, agentId)
    t.teardown(() => agent.close())
    await agent.join(started.token, { health })
    return agent
  }
  return { ...started, node, untilNode, join }
}

t.test('a node that a failure endangers is offered to nobody until its agent says that it is over', async (t) => {
  const { call, node, join } = await master(t)
  const sick = await join(unfit)
  t.match(await node(sick.agentId), { health: unfit, condition: 'active' })
  await call('POST', '/v1/tasks', { name: 'waits', image: 'host' })
  t.match((await call('GET', '/v1/tasks/waits/wait?until=started')).body, { state: 'staging' })
  t.equal(sick.count('Launch'), 0)
  sick.send('Heartbeat', { sequence: 1000, health: fit })
  t.equal((await sick.takeLaunch()).taskId, 'waits')
  t.match(await node(sick.agentId), { health: { verdict: 'WARNING', refusesLaunches: false } })
})

t.test('work goes to the well node of two, and what falls ill later gets none either', async (t) => {
  const { call, untilNode, join } = await master(t)
  const [one, two] = [await join(fit), await join(null)]
  one.send('Heartbeat', { sequence: 1000, health: unfit })
  await untilNode(one.agentId, ({ health }) => health?.refusesLaunches === true)
  for (const name of ['a', 'b', 'c']) {
    await call('POST', '/v1/tasks', { name, image: 'host', milliCpu: 100 })
    t.equal((await two.takeLaunch()).taskId, name)
  }
  t.equal(one.count('Launch'), 0)
})

t.test('a heartbeat without news leaves what is known, and another agent starts unknown', async (t) => {
  const { untilNode, node, join } = await master(t)
  const agent = await join(unfit)
  agent.send('Heartbeat', { sequence: 1000 })
  await agent.next('HeartbeatAnswer')
  t.match(await node(agent.agentId), { health: { refusesLaunches: true } })
  agent.close()
  await untilNode(agent.agentId, ({ health }) => health === null)
  await join(null, agent.agentId)
  t.match(await node(agent.agentId), { health: null, connected: true })
})

t.test('a launch that the node refuses as unfit is tried on another one', async (t) => {
  const { call, untilNode, join } = await master(t)
  const sick = await join(fit)
  await call('POST', '/v1/tasks', { name: 'late', image: 'host' })
  const { group, attempt } = await sick.next('Launch')
  sick.send('Heartbeat', { sequence: 1000, health: unfit })
  const message = 'this node takes no new work: disk /d: full'
  const facts = { frameworkId: group?.frameworkId ?? '', taskId: 'late', attempt }
  sick.send('LaunchAnswer', { ...facts, accepted: false, reason: 'node_unhealthy', message })
  await untilNode(sick.agentId, ({ health }) => health?.refusesLaunches === true)
  const well = await join(fit)
  t.match(await well.takeLaunch(), { taskId: 'late', attempt: attempt + 1 })
  t.equal(sick.count('Launch'), 0)
})

t.test('a list of problems without end is cut', async (t) => {
  const { node, join } = await master(t)
  const agent = await join({ ...fit, problems: Array.from({ length: 1_000 }, () => problem) })
  t.equal((await node(agent.agentId)).health.problems.length, 64)
})
