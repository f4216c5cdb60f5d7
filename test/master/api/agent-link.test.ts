import fc from 'fast-check'
import t from 'tap'
import { encodeFrame, maxFrameBytes } from '../../../proto/frame.ts'
import { newClusterId } from '../../../proto/ids.ts'
import { encodeWire } from '../../../proto/wire.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster } from '../../support/test-master.ts'

t.test('a handshake that does not fit is refused with the reason', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { token } = master
  const table: readonly [string, (agent: ScriptedAgent) => void, string, RegExp][] = [
    ['a wrong token', (a) => a.hello('wrong'), 'denied', /agent token is wrong/],
    ['no token', (a) => a.hello(''), 'denied', /agent token is wrong/],
    ['a protocol of the future', (a) => a.hello(token, { protocolMin: 7, protocolMax: 9 }), 'unsupported', /protocol 7 to 9/],
    ['another cluster', (a) => a.hello(token, { clusterId: newClusterId() }), 'conflict', /belongs to cluster/],
    ['another role', (a) => a.hello(token, { role: 'master' }), 'unsupported', /only agents/],
    ['an id that is none', (a) => a.hello(token, { nodeId: '../../x' }), 'invalid', /32 hexadecimal digits/],
    ['no hello', (a) => a.register(), 'corrupt', /must be Hello, not Register/],
    ['a frame of an unknown type', (a) => a.raw(encodeFrame(250, Buffer.from('x'))), 'unsupported', /frame type 250/],
    [
      'a wrong checksum',
      (a) => a.raw(Buffer.concat([Buffer.from([0, 0, 0, 2, 1, 2, 3, 4]), Buffer.from('xy')])),
      'corrupt',
      /checksum/
    ],
    ['an oversized frame', (a) => a.raw(Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])), 'corrupt', /is refused/]
  ]
  for (const [name, act, code, message] of table) {
    const agent = new ScriptedAgent(master.agents)
    act(agent)
    t.match(await agent.next('Refusal'), { code, message }, name)
    await agent.closed
  }
  t.equal(master.master.agentLink.sessions, 0)
  t.equal(master.replica.state.agents.size, 0, 'nothing of them was committed')
})

t.test('a registration that makes no sense is refused', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const table: readonly [string, (agent: ScriptedAgent) => void, string][] = [
    ['under another id', (a) => a.register({ agentId: newClusterId() }), 'invalid'],
    ['without a host name', (a) => a.register({ hostname: '' }), 'invalid'],
    ['with negative memory', (a) => a.register({ resources: [{ name: 'mem', kind: 'scalar', scalar: -1 }] }), 'invalid'],
    ['a status before it', (a) => a.send('TaskStatus', { state: 'running' }), 'corrupt']
  ]
  for (const [name, act, code] of table) {
    const agent = new ScriptedAgent(master.agents)
    agent.hello(master.token)
    await agent.next('Welcome')
    act(agent)
    t.match(await agent.next('Refusal'), { code }, name)
    await agent.closed
  }
})

t.test('a second live agent of the same id is refused, the first one stays', async (t) => {
  const master = await startTestMaster({ heartbeatMs: 200, missedBeats: 5 })
  t.teardown(() => master.stop())
  const first = new ScriptedAgent(master.agents)
  t.teardown(() => first.close())
  await first.join(master.token)
  const second = new ScriptedAgent(master.agents, first.agentId)
  second.hello(master.token)
  await second.next('Welcome')
  second.register()
  t.match(await second.next('Refusal'), { code: 'conflict', message: /connected already/ })
  await second.closed
  first.send('Heartbeat', { sequence: 444 })
  while ((await first.next('HeartbeatAnswer')).sequence !== 444) t.pass('an answer to an earlier one')
})

t.test('who says nothing is put out', async (t) => {
  const master = await startTestMaster({ heartbeatMs: 10, missedBeats: 3 })
  t.teardown(() => master.stop())
  const agent = new ScriptedAgent(master.agents)
  agent.hello(master.token)
  await agent.next('Welcome')
  agent.register()
  await agent.next('Registered')
  await agent.closed
  t.pass('a silent agent is disconnected')
})

t.test('half a frame, then the end, leaves nothing', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const whole = encodeWire('Hello', { token: master.token })
  const agent = new ScriptedAgent(master.agents)
  agent.raw(whole.subarray(0, whole.length - 3))
  agent.close()
  await agent.closed
  const flood = new ScriptedAgent(master.agents)
  flood.raw(Buffer.concat([lengthOf(maxFrameBytes), Buffer.alloc(100_000)]))
  t.match(await flood.next('Refusal'), { code: 'corrupt', message: /greeting/ }, 'a stranger gets no large buffer')
  await flood.closed
  t.equal(master.master.agentLink.sessions, 0)
})

t.test('no bytes on the agent port bring the master down', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const hello = encodeWire('Hello', {
    protocolMin: 1,
    protocolMax: 1,
    nodeId: newClusterId(),
    role: 'agent',
    token: master.token
  })
  const frame = fc
    .tuple(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 60 }))
    .map(([type, body]) => encodeFrame(type, body))
  const garbage = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }).map((b) => Buffer.from(b)),
    frame,
    frame.map((f) => Buffer.concat([hello, f]))
  )
  await fc.assert(
    fc.asyncProperty(garbage, async (bytes) => {
      const agent = new ScriptedAgent(master.agents)
      agent.raw(bytes)
      agent.close()
      await agent.closed
    }),
    { numRuns: 150 }
  )
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  t.same([...master.replica.state.agents.keys()], [agent.agentId])
})

function lengthOf(bytes: number): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(bytes)
  return head
}
