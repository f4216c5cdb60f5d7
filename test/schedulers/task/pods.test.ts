import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { levelOfPods } from '../../../master/state/cluster.ts'
import { scalar } from '../../../proto/resources.ts'
import { mebibyte, ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'
import { until } from '../../support/until.ts'

type Test = { teardown(work: () => unknown): void }

/** Whose cluster has come to the level that knows pods. */
async function startMaster(t: Test): Promise<TestMaster> {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  await until(() => master.replica.state.featureLevel >= levelOfPods)
  return master
}

const capabilities = [{ name: 'pods', present: true, detail: '' }]

async function withAgent(t: Test, master: TestMaster, more: object = { capabilities }): Promise<ScriptedAgent> {
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token, more)
  return agent
}

const container = (name: string, more: object = {}) => ({ name, image: 'host', ...more })
const stateOf = async (master: TestMaster, id: string) => (await master.call('GET', `/v1/tasks/${id}`)).body

/** The test's time-out is the end. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(10)
}

t.test('a pod goes to one node as a whole, and each of its launches carries all of it', async (t) => {
  const master = await startMaster(t)
  const agent = await withAgent(t, master)
  const containers = [
    container('first', { part: 'init', memoryBytes: 64 * mebibyte }),
    container('main', { memoryBytes: 64 * mebibyte, milliCpu: 500 })
  ]
  const asked = await master.call('POST', '/v1/tasks/pods', { name: 'p', containers, network: 'none', shareProcesses: true })
  t.match(asked, {
    status: 201,
    body: {
      tasks: [
        { taskId: 'p.first', part: 'init' },
        { taskId: 'p.main', part: 'main' }
      ]
    }
  })
  const [one, other] = [await agent.next('Launch'), await agent.next('Launch')]
  for (const launch of [one, other]) {
    t.same(
      launch.group?.tasks.map((task) => [task.taskId, task.part]),
      [
        ['p.first', 'init'],
        ['p.main', 'main']
      ]
    )
    t.equal(launch.group?.shareProcesses, true)
    t.same(launch.pod, one.pod, 'they name the same containers')
  }
  t.same(
    [one, other].map((launch) => launch.containerId),
    one.pod?.members.map((member) => member.containerId)
  )
  const frameworkId = one.group?.frameworkId ?? ''
  for (const taskId of ['p.first', 'p.main']) agent.send('LaunchAnswer', { frameworkId, taskId, attempt: 1, accepted: true })
  const of = { frameworkId, taskId: 'p.main', attempt: 1, containerId: other.containerId }
  agent.status(of, { state: 'running', startedAtMs: 1 })
  await eventually(async () => (await stateOf(master, 'p.main')).state === 'running')
  t.equal((await stateOf(master, 'p.first')).state, 'staging', 'each has a state of its own')
})

t.test('a pod that fits on no node as a whole waits as a whole', async (t) => {
  const master = await startMaster(t)
  const resources = [scalar('cpus', 1_000), scalar('mem', 100 * mebibyte)]
  const agent = await withAgent(t, master, { capabilities, resources })
  await master.call('POST', '/v1/tasks', { ...container('full'), memoryBytes: 50 * mebibyte })
  await agent.takeLaunch()
  const containers = ['a', 'b'].map((name) => container(name, { memoryBytes: 40 * mebibyte }))
  await master.call('POST', '/v1/tasks/pods', { name: 'p', containers })
  await eventually(async () => /waits for free resources/.test((await stateOf(master, 'p.b')).message ?? ''))
  t.equal(agent.count('Launch'), 0)
  const killed = await master.call('POST', '/v1/tasks/p.a/kill', {})
  t.equal(killed.status, 202)
  await eventually(async () => (await stateOf(master, 'p.b')).state === 'killed')
  t.match(await stateOf(master, 'p.a'), { state: 'killed', reason: 'killed_during_launch' })
  t.match(await stateOf(master, 'p.b'), { reason: 'pod_ended', message: 'ended with its pod: the end of p.a was asked for' })
})

t.test('names are taken together, and what no node can do is refused at once', async (t) => {
  const master = await startMaster(t)
  await withAgent(t, master, {})
  const run = (name: string, containers: readonly object[]) => master.call('POST', '/v1/tasks/pods', { name, containers })
  t.match(await run('p', [container('a'), container('b')]), { status: 400, body: { error: { message: /no node has pods/ } } })
  await withAgent(t, master)
  await master.call('POST', '/v1/tasks', container('p.b'))
  t.match(await run('p', [container('a'), container('b')]), {
    status: 409,
    body: { error: { message: /a task named p\.b exists/ } }
  })
  t.equal((await master.call('GET', '/v1/tasks/p.a')).status, 404, 'nothing of it is left')
  const refused = async (containers: readonly object[], message: RegExp): Promise<void> => {
    t.match((await run('q', containers)).body, { error: { message } })
  }
  await refused([container('a', { part: 'sidecar' })], /needs a main container/)
  await refused(
    [container('a', { restart: { policy: 'always' } })],
    /a pod is not restarted by its node: leave the restart policy of q\.a/
  )
  await refused([container('a'), container('b', { part: 'init', probes: { liveness: { command: ['true'] } } })], /has a probe/)
  await refused([container('a'), container('b', { runtime: 'docker' })], /Docker runs no pods/)
  await refused([container('a'), container('b', { walls: { userNamespace: true } })], /no user namespace of its own/)
  await refused([container('a', { network: 'host' })], /network/)
  t.match(await run('q', [container('a'), container('a')]), { status: 400, body: { error: { message: /called q\.a/ } } })
})
