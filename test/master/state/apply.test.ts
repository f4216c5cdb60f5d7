import fc from 'fast-check'
import t from 'tap'
import { isFault } from '../../../base/fault.ts'
import { apply } from '../../../master/state/apply.ts'
import { assignmentKey, ClusterState, clusterLimits } from '../../../master/state/cluster.ts'
import { completeMessage, decodeMessage, type Init } from '../../../proto/codec.ts'
import type { Command } from '../../../proto/gen/messages.ts'
import { anyCommand, assign, Cluster, encoded, end, newCluster, reloaded, store } from './commands.ts'

const row = (key: string, byte = 1) => ({ key, value: Uint8Array.of(byte) })

t.test('before the cluster is initialised every other command is refused', async (t) => {
  const cluster = new Cluster()
  t.match(cluster.does({ registerAgent: { agentId: 'a' } }), { refused: true, code: 'unsupported' })
  t.match(cluster.does({ initCluster: { clusterId: 'c' } }), { refused: false })
  t.match(cluster.does({ initCluster: { clusterId: 'd' } }), { refused: true, code: 'conflict' })
  t.equal(cluster.state.clusterId, 'c')
  t.match(cluster.does({ registerAgent: { agentId: 'a' } }), { refused: false })
})

t.test('an empty command, an unknown one and one with two kinds are refused', async (t) => {
  const { does } = bound(newCluster())
  t.match(does({}), { refused: true, code: 'unsupported' })
  t.match(does({ openSession: { session: 's' }, raiseFeatureLevel: { level: 2 } }), { refused: true, code: 'unsupported' })
})

t.test('the feature level rises by one at a time', async (t) => {
  const cluster = newCluster()
  t.match(cluster.does({ raiseFeatureLevel: { level: 3 } }), { refused: true, code: 'conflict' })
  t.match(cluster.does({ raiseFeatureLevel: { level: 1 } }), { refused: true, code: 'conflict' })
  t.equal(cluster.state.featureLevel, 1)
  t.match(cluster.does({ raiseFeatureLevel: { level: 2 } }), { refused: false })
  t.equal(cluster.state.featureLevel, 2)
})

t.test('the time of the state never goes back', async (t) => {
  const cluster = newCluster()
  cluster.does({ atMs: 500, openSession: { session: 's' } })
  cluster.does({ atMs: 400, registerAgent: { agentId: 'late' } })
  t.equal(cluster.state.atMs, 500)
  t.equal(cluster.state.agents.get('late')?.registeredAtMs, 500)
})

t.test('an agent registers again in place, and never after it was marked gone', async (t) => {
  const cluster = newCluster()
  cluster.does({ setAgentCondition: { agentId: 'a', condition: 'agent_unreachable' } })
  t.equal(cluster.state.agents.get('a')?.condition, 'agent_unreachable')
  t.match(cluster.does({ registerAgent: { agentId: 'a', hostname: 'new' } }), { refused: false })
  t.match(cluster.state.agents.get('a'), { condition: 'active', agent: { hostname: 'new' } })
  t.match(cluster.does({ setAgentCondition: { agentId: 'a', condition: 'agent_gone' } }), { refused: false })
  t.match(cluster.does({ registerAgent: { agentId: 'a' } }), { refused: true, code: 'conflict' })
  t.match(cluster.does({ setAgentCondition: { agentId: 'a', condition: 'active' } }), { refused: true, code: 'conflict' })
  t.match(cluster.does({ setAgentCondition: { agentId: 'b', condition: 'active' } }), { refused: true, code: 'not-found' })
  t.match(cluster.does({ setAgentCondition: { agentId: 'a' } }), { refused: true, code: 'invalid' })
})

t.test('an agent that was given up comes back from feature level 3 on, one that was removed never', async (t) => {
  const cluster = newCluster()
  const gone: Init<Command> = { setAgentCondition: { agentId: 'a', condition: 'agent_gone' } }
  const back: Init<Command> = { registerAgent: { agentId: 'a', hostname: 'back' } }
  const level = cluster.state.featureLevel
  for (let next = level + 1; next <= 3; next += 1) cluster.does({ raiseFeatureLevel: { level: next } })
  t.match(cluster.does(gone), { refused: false })
  t.match(cluster.state.agents.get('a'), { condition: 'agent_gone', mayReturn: true })
  t.match(cluster.does({ setAgentCondition: { agentId: 'a', condition: 'active' } }), { refused: true, code: 'conflict' })
  t.match(cluster.does(back), { refused: false })
  t.match(cluster.state.agents.get('a'), { condition: 'active', mayReturn: false })
  t.match(cluster.does({ removeNode: { nodeId: 'a' } }), { refused: false })
  t.match(cluster.does(gone), { refused: false })
  t.match(cluster.does(back), { refused: true, code: 'conflict' })
})

t.test('an agent with resources that cannot be is refused', async (t) => {
  const { does } = bound(newCluster())
  const answer = does({ registerAgent: { agentId: 'b', resources: [{ name: 'cpus', kind: 'scalar', scalar: -1 }] } })
  t.match(answer, { refused: true, code: 'invalid', message: /cpus cannot be -1/ })
})

t.test('a task is assigned once per attempt, to an agent that is there', async (t) => {
  const cluster = newCluster()
  t.match(cluster.does(assign(1, 't', 'nobody')), { refused: true, code: 'not-found' })
  t.match(cluster.does(assign(0)), { refused: true, code: 'invalid' })
  t.match(cluster.does(assign(2)), { refused: false })
  t.match(cluster.does(assign(2)), { refused: true, code: 'conflict' })
  t.match(cluster.does(assign(1)), { refused: true, code: 'conflict' })
  t.match(cluster.does(assign(3)), { refused: false })
  t.equal(cluster.state.assignments.get(assignmentKey('f', 't'))?.assignment.attempt, 3)
  t.equal(cluster.state.assignmentOf('f', 't')?.index, cluster.state.index)
  cluster.does(end(3))
  t.match(cluster.does(assign(3)), { refused: true, code: 'conflict' }, 'also after it has ended')
  cluster.does({ setAgentCondition: { agentId: 'a', condition: 'agent_gone' } })
  t.match(cluster.does(assign(4)), { refused: true, code: 'conflict' }, 'the agent is gone')
})

t.test('an attempt ends once, in a final state, and only then is its task forgotten', async (t) => {
  const cluster = newCluster()
  t.match(cluster.does(end(1)), { refused: true, code: 'not-found' })
  cluster.does(assign(1))
  t.match(cluster.does({ endTask: { frameworkId: 'f', taskId: 't', attempt: 1 } }), { refused: true, code: 'invalid' })
  const still: Init<Command> = { endTask: { frameworkId: 'f', taskId: 't', attempt: 1, status: { state: 'running' } } }
  t.match(cluster.does(still), { refused: true, code: 'invalid' })
  t.match(cluster.does(end(2)), { refused: true, code: 'conflict' })
  const forget = { forgetTask: { frameworkId: 'f', taskId: 't' } }
  t.match(cluster.does(forget), { refused: true, code: 'conflict' })
  t.match(cluster.does(end(1)), { refused: false })
  t.match(cluster.does(end(1)), { refused: true, code: 'conflict' })
  t.match(cluster.state.assignmentOf('f', 't')?.ending, { state: 'finished', exitCode: 0 })
  t.match(cluster.does(forget), { refused: false })
  t.equal(cluster.state.assignments.size, 0)
  t.match(cluster.does(forget), { refused: true, code: 'not-found' })
  t.match(cluster.does(assign(1)), { refused: false }, 'a forgotten task id starts afresh')
})

t.test('a store transaction happens whole or not at all', async (t) => {
  const cluster = newCluster()
  const first = cluster.does(store({ writes: [row('x'), row('y')] }))
  t.equal(cluster.state.storeOf('f').get('x')?.version, first.version)
  const before = encoded(cluster.state)
  const stale = store({
    conditions: [
      { key: 'x', version: first.version },
      { key: 'y', version: 0 }
    ],
    writes: [row('x', 9)]
  })
  t.match(cluster.does(stale), { refused: true, code: 'conflict' })
  t.equal(withoutIndex(cluster), withoutIndex(new Cluster(reloaded(cluster.state))))
  t.same(cluster.state.storeOf('f').get('x')?.value, Uint8Array.of(1))
  t.not(before, encoded(cluster.state), 'the index moves on')
  const swap = store({
    conditions: [
      { key: 'x', version: first.version },
      { key: 'z', version: 0 }
    ],
    writes: [row('z', 3), { key: 'x', remove: true }]
  })
  t.match(cluster.does(swap), { refused: false })
  t.same(
    [...cluster.state.storeOf('f').scan()].map((r) => r.key),
    ['y', 'z']
  )
  t.match(cluster.does(store({ writes: [row('k'), row('k')] })), { refused: true, code: 'invalid' })
  t.match(cluster.does(store({ writes: [row('')] })), { refused: true, code: 'invalid' })
  t.match(cluster.does({ storeTransaction: { frameworkId: 'unknown', writes: [row('k')] } }), {
    refused: true,
    code: 'not-found'
  })
})

t.test('the store of a framework has a quota, and each value a limit', async (t) => {
  const cluster = newCluster()
  const limits = { ...clusterLimits, storeBytes: 1000, storeValueBytes: 500 }
  const does = (command: Init<Command>) =>
    apply(cluster.state, completeMessage('Command', command), cluster.state.index + 1, limits)
  const big = (key: string, bytes: number) => store({ writes: [{ key, value: new Uint8Array(bytes) }] })
  t.match(does(big('a', 501)), { refused: true, code: 'exhausted' })
  t.match(does(big('a', 400)), { refused: false })
  t.match(does(big('b', 400)), { refused: false })
  t.match(does(big('c', 400)), { refused: true, code: 'exhausted' })
  t.match(does(big('a', 410)), { refused: false })
  t.match(
    does(
      store({
        writes: [
          { key: 'a', remove: true },
          { key: 'c', value: new Uint8Array(400) }
        ]
      })
    ),
    { refused: false }
  )
  t.match(does(store({ writes: [{ key: 'b', remove: true }] })), { refused: false })
  t.equal(cluster.state.storeOf('f').bytes, 400 + 1 + 64)
})

t.test('agents, frameworks and assignments are bounded', async (t) => {
  const cluster = newCluster()
  const limits = { ...clusterLimits, agents: 1, frameworks: 1, assignments: 1 }
  const does = (command: Init<Command>) =>
    apply(cluster.state, completeMessage('Command', command), cluster.state.index + 1, limits)
  t.match(does({ registerAgent: { agentId: 'b' } }), { refused: true, code: 'exhausted' })
  t.match(does({ registerAgent: { agentId: 'a', hostname: 'again' } }), { refused: false })
  t.match(does({ registerFramework: { framework: { frameworkId: 'g' } } }), { refused: true, code: 'exhausted' })
  t.match(does(assign(1)), { refused: false })
  t.match(does(assign(1, 'u')), { refused: true, code: 'exhausted' })
  t.match(does(assign(2)), { refused: false })
})

t.test('the session used longest ago makes room for a new one, and its late command is refused, not applied twice', async (t) => {
  const cluster = newCluster()
  const limits = { ...clusterLimits, sessions: 3 }
  const does = (command: Init<Command>) =>
    apply(cluster.state, completeMessage('Command', command), cluster.state.index + 1, limits)
  for (const session of ['s1', 's2', 's3']) does({ session, seq: 1, openSession: { session } })
  does({ session: 's1', seq: 2, ...store({ writes: [row('k')] }) })
  does({ session: 's4', seq: 1, openSession: { session: 's4' } })
  t.same([...cluster.state.sessions.keys()], ['s3', 's1', 's4'])
  t.match(does({ session: 's2', seq: 2, ...store({ writes: [row('late')] }) }), { refused: true, code: 'not-found' })
  t.equal(cluster.state.storeOf('f').get('late'), undefined)
  t.match(does({ session: 's2', seq: 7, openSession: { session: 's2' } }), { refused: false }, 'it may open again')
})

t.test('no command of any kind ever throws, and each is answered', async (t) => {
  fc.assert(
    fc.property(fc.array(anyCommand, { maxLength: 40 }), (commands) => {
      const cluster = newCluster()
      for (const command of commands) {
        const answer = cluster.does(command)
        if (answer.refused !== (answer.code !== '') || answer.refused !== (answer.message !== '')) return false
      }
      return true
    }),
    { numRuns: 400 }
  )
  t.pass()
})

t.test('no bytes that decode to a command ever make apply throw', async (t) => {
  let decoded = 0
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const cluster = newCluster()
      for (const tag of [0x52, 0x5a, 0x62, 0x6a, 0x72, 0x7a]) {
        const framed = Uint8Array.of(tag, bytes.length, ...bytes)
        const command = tryDecode(framed)
        if (command === undefined) continue
        decoded += 1
        apply(cluster.state, command, cluster.state.index + 1)
      }
      for (const tag of [0x82, 0x8a, 0x92, 0x9a]) {
        const command = tryDecode(Uint8Array.of(tag, 1, bytes.length, ...bytes))
        if (command === undefined) continue
        decoded += 1
        apply(cluster.state, command, cluster.state.index + 1)
      }
      encoded(cluster.state)
      return true
    }),
    { numRuns: 2000 }
  )
  t.ok(decoded > 100, `${decoded} decoded`)
})

t.test('the same commands lead to the same bytes, also through a snapshot in between', async (t) => {
  fc.assert(
    fc.property(fc.array(anyCommand, { maxLength: 40 }), fc.nat(40), (commands, cut) => {
      const one = newCluster()
      let two = newCluster()
      for (const [i, command] of commands.entries()) {
        const a = one.does(command)
        const b = two.does(command)
        if (JSON.stringify(a) !== JSON.stringify(b)) return false
        if (i === cut) two = new Cluster(reloaded(two.state))
      }
      return encoded(one.state) === encoded(two.state)
    }),
    { numRuns: 300 }
  )
  t.pass()
})

t.test('an empty state is one whose bytes come back', async (t) => {
  t.equal(encoded(reloaded(new ClusterState())), encoded(new ClusterState()))
})

function bound(cluster: Cluster): { does: Cluster['does'] } {
  return { does: (command) => cluster.does(command) }
}

function withoutIndex(cluster: Cluster): string {
  return JSON.stringify([...cluster.state.storeOf('f').scan()])
}

function tryDecode(bytes: Uint8Array): Command | undefined {
  try {
    return decodeMessage('Command', bytes)
  } catch (e) {
    if (isFault(e)) return undefined
    throw e
  }
}
