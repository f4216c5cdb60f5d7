import t from 'tap'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster } from '../support/test-master.ts'

t.test('the event stream tells the whole life of a task, in order', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const stream = await master.open('GET', '/v1/events?task=a')
  t.teardown(() => stream.destroy())
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const launch = await agent.takeLaunch()
  for (const state of ['starting', 'running', 'finished'] as const) agent.status(launch, { state })
  await master.call('GET', '/v1/tasks/a/wait')
  await master.call('DELETE', '/v1/tasks/a')
  const states: string[] = []
  let removed = false
  let text = ''
  for await (const chunk of stream) {
    text += Buffer.from(chunk as Buffer).toString()
    const events = text.split('\n\n')
    text = events.pop() ?? ''
    for (const event of events) {
      const data = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? '{}')
      if (data.state !== undefined && states.at(-1) !== data.state) states.push(data.state)
      removed ||= data.removed === true
    }
    if (removed) break
  }
  t.same(states, ['staging', 'starting', 'running', 'finished'])
})

t.test('nodes that come and go are events', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const stream = await master.open('GET', '/v1/events?kinds=node')
  t.teardown(() => stream.destroy())
  const agent = new ScriptedAgent(master.agents)
  await agent.join(master.token)
  let text = ''
  for await (const chunk of stream) {
    text += Buffer.from(chunk as Buffer).toString()
    if (text.includes('"connected":true')) agent.close()
    if (/"connected":true[\s\S]*"connected":false/.test(text)) break
  }
  t.match(text, /^id: 1-0\nevent: snapshot\n/)
})
