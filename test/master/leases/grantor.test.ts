import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { levelOfLeases } from '../../../master/state/cluster.ts'
import type { Messages } from '../../../proto/gen/messages.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'
import { until } from '../../support/until.ts'

// Each waits for a lease to run out.
t.jobs = 4

const capabilities = [{ name: 'lease', present: true, detail: '' }]
const lengthMs = 3_000

async function startMaster(t: { teardown(work: () => unknown): void }, replica?: TestMaster['replica']): Promise<TestMaster> {
  const master = await startTestMaster({}, replica)
  t.teardown(() => master.stop())
  await until(() => master.replica.state.featureLevel >= levelOfLeases)
  return master
}

async function withAgent(
  t: { teardown(work: () => unknown): void },
  master: TestMaster,
  more: object = { capabilities },
  agentId?: string
): Promise<ScriptedAgent> {
  const agent = new ScriptedAgent(master.agents, agentId)
  t.teardown(() => agent.close())
  await agent.join(master.token, more)
  return agent
}

type Launched = Awaited<ReturnType<ScriptedAgent['takeLaunch']>>
let asked = 0

async function ask(agent: ScriptedAgent, of: Launched, more: object = {}): Promise<Messages['LeaseGrant']> {
  const { frameworkId, taskId, attempt, containerId } = of
  asked += 1
  const request = asked
  agent.send('LeaseRequest', { frameworkId, taskId, attempt, containerId, request, lengthMs, ...more })
  const grant = await agent.next('LeaseGrant')
  if (grant.request !== request) throw new Error('the answer to another request')
  return grant
}

const task = (name: string, more: object = {}) => ({ name, image: 'host', lease: { lengthMs }, ...more })
const lease = async (master: TestMaster, id: string) => (await master.call('GET', `/v1/tasks/${id}`)).body.lease

t.test('a lease is granted to the node that has the task, renewed, shown, and over with the task', async (t) => {
  const master = await startMaster(t)
  const agent = await withAgent(t, master)
  const run = await master.call('POST', '/v1/tasks', task('a'))
  t.match(run, { status: 201, body: { lease: { lengthMs, state: 'wanted', grantedAtMs: null } } })
  const launch = await agent.takeLaunch()
  t.match(launch.group?.tasks[0]?.lease, { lengthMs })
  t.match(
    await ask(agent, launch, { lengthMs: 9_000 }),
    { granted: true, lengthMs, epoch: 1 },
    'as it was assigned, whatever is wished'
  )
  t.match(await ask(agent, launch), { granted: true })
  t.match(await lease(master, 'a'), { state: 'held' })
  t.equal(master.replica.changed.filter(({ command }) => command.grantLease !== null).length, 1, 'renewals are not on record')

  const stranger = await withAgent(t, master)
  t.match(await ask(stranger, launch), { granted: false, message: /was given to node/ })
  stranger.close()
  t.match(await ask(agent, launch, { taskId: 'other' }), { granted: false, message: /does not know it/ })
  t.match(await ask(agent, launch, { containerId: 'f'.repeat(32) }), { granted: false, message: /another attempt/ })
  await until(() => master.replica.state.agents.size === 2 && master.master.core.nodes.link(stranger.agentId) === undefined)
  t.equal((await master.call('POST', '/v1/tasks', task('plain', { lease: undefined }))).status, 201)
  t.match(await ask(agent, await agent.takeLaunch()), { granted: false, message: /without a lease/ })

  agent.status(launch, { state: 'failed', reason: 'exited', exitCode: 1 })
  await agent.next('StatusAcknowledgement')
  t.match(await lease(master, 'a'), { state: 'over' })
  t.match(await ask(agent, launch), { granted: false, message: /has ended it/ })
})

t.test('requests that no node could keep are refused with a sentence', async (t) => {
  const master = await startMaster(t)
  for (const lengthMs of [2_999, 86_400_001]) {
    t.match(await master.call('POST', '/v1/tasks', task('a', { lease: { lengthMs } })), {
      status: 400,
      body: { error: { message: /ask for 3 s to 24 h/ } }
    })
  }
  const containers = [{ name: 'x', image: 'host', lease: { lengthMs } }]
  t.match(await master.call('POST', '/v1/tasks/pods', { name: 'p', containers }), {
    status: 501,
    body: { error: { message: /without a lease/ } }
  })
  await withAgent(t, master, {})
  t.match(await master.call('POST', '/v1/tasks', task('a')), { status: 400, body: { error: { message: /no node has lease/ } } })
})

t.test(
  'what nobody renews ends for the cluster when it is surely over, and goes on elsewhere where its policy says so',
  async (t) => {
    const master = await startMaster(t)
    const first = await withAgent(t, master)
    await master.call('POST', '/v1/tasks', task('stays'))
    const stays = await first.takeLaunch()
    await master.call('POST', '/v1/tasks', task('moves', { restart: { policy: 'always' } }))
    const moves = await first.takeLaunch()
    for (const launch of [stays, moves]) t.match(await ask(first, launch), { granted: true })
    const grantedMs = performance.now()
    first.close()
    const second = await withAgent(t, master)
    const next = await second.takeLaunch()
    t.ok(performance.now() - grantedMs > lengthMs, 'a whole length later')
    t.match(next, { taskId: 'moves', attempt: 2 })
    t.not(next.containerId, moves.containerId)
    t.match(await ask(second, next), { granted: true })
    const ended = (await master.call('GET', '/v1/tasks/stays/wait')).body
    t.match(ended, {
      state: 'failed',
      reason: 'lease_expired',
      message: /did not renew its lease of 3 s/,
      lease: { state: 'over' }
    })

    const back = await withAgent(t, master, { capabilities }, first.agentId)
    t.match(await ask(back, moves), { granted: false, message: /another attempt has taken its place/ })
  }
)

t.test('the next leader waits for what it finds on record, and a task of that name waits with it', async (t) => {
  const master = await startTestMaster()
  await until(() => master.replica.state.featureLevel >= levelOfLeases)
  const agent = await withAgent(t, master)
  await master.call('POST', '/v1/tasks', task('a'))
  const launch = await agent.takeLaunch()
  t.match(await ask(agent, launch), { granted: true })
  const removed = await master.call('DELETE', `/v1/nodes/${agent.agentId}?force=true`)
  t.equal(removed.status, 204)
  await until(() => master.replica.state.assignmentOf(launch.frameworkId, 'a')?.ending?.state === 'gone_by_operator')
  t.equal((await master.call('DELETE', '/v1/tasks/a')).status, 204)
  await master.stop()

  const next = await startMaster(t, master.replica)
  const sinceMs = performance.now()
  const other = await withAgent(t, next)
  t.equal((await next.call('POST', '/v1/tasks', task('a'))).status, 201)
  for (let message = ''; !/lease of that one is surely over/.test(message); await pause(10)) {
    message = (await next.call('GET', '/v1/tasks/a')).body.message ?? ''
  }
  t.match(await other.takeLaunch(), { taskId: 'a' })
  t.ok(performance.now() - sinceMs > lengthMs, 'from its own beginning')
})
