import t from 'tap'
import { streamContentType } from '../../proto/stream-frame.ts'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster, textOf } from '../support/test-master.ts'

t.test('a task walks from its request over the wire to its end, its log and its removal', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)

  const made = await master.call('POST', '/v1/tasks', { name: 'web', image: 'host', arguments: ['true'], milliCpu: 500 })
  t.match(made, { status: 201, body: { taskId: 'web', state: 'staging', frameworkId: 'hearth-tasks', role: '*' } })

  const launch = await agent.takeLaunch()
  t.match(launch, { attempt: 1, taskId: 'web' })
  t.equal(launch.group?.tasks[0]?.resources.length, 1, 'only what was asked for becomes a resource')
  t.match(launch.specDigest, /^[0-9a-f]{64}$/)

  const waiting = master.call('GET', '/v1/tasks/web/wait')
  agent.status(launch, { state: 'starting' })
  const running = agent.status(launch, { state: 'running', atMs: 2_000 })
  await agent.next('StatusAcknowledgement')
  t.same(await agent.next('StatusAcknowledgement'), { number: running, epoch: 1 })
  t.match(await master.call('GET', '/v1/tasks/web'), {
    status: 200,
    body: { state: 'running', nodeId: agent.agentId, hostname: 'scripted', startedAtMs: 2_000 }
  })
  t.match(await master.call('GET', '/v1/nodes'), {
    body: {
      nodes: [{ hostname: 'scripted', connected: true, tasks: 1, condition: 'active', used: [{ name: 'cpus', scalar: 500 }] }]
    }
  })

  agent.status(launch, { state: 'failed', reason: 'exited', exitCode: 3, atMs: 3_000 })
  await agent.next('StatusAcknowledgement')
  t.match(await waiting, { status: 200, body: { state: 'failed', exitCode: 3, endedAtMs: 3_000, reason: 'exited' } })
  t.equal(master.replica.state.assignmentOf('hearth-tasks', 'web')?.ending?.exitCode, 3, 'the ending is committed')

  const reading = master.open('GET', '/v1/tasks/web/logs?tail=10')
  const open = await agent.next('StreamOpen')
  t.match(open, { method: 'GET', path: '/v1/tasks/hearth-tasks/web/logs?tail=10', duplex: false })
  agent.send('StreamHead', { stream: open.stream, status: 200, contentType: streamContentType })
  agent.send('StreamData', { stream: open.stream, data: Buffer.from('what it wrote') })
  agent.send('StreamEnd', { stream: open.stream })
  const log = await reading
  t.equal(log.headers['content-type'], streamContentType)
  t.equal(await textOf(log), 'what it wrote')

  t.equal((await master.call('DELETE', '/v1/tasks/web')).status, 204)
  t.match(await agent.next('Forget'), { frameworkId: 'hearth-tasks', taskId: 'web' })
  t.equal((await master.call('GET', '/v1/tasks/web')).status, 404)
  t.equal(master.replica.state.assignments.size, 0)
})
