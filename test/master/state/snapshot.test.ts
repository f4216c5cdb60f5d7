import t from 'tap'
import { encodeSnapshot, freezeState, SnapshotDecoder } from '../../../master/state/snapshot.ts'
import { encodeMessage } from '../../../proto/codec.ts'
import { assign, encoded, newCluster, reloaded, store } from './commands.ts'

const origin = { nodeId: 'n', term: 4 }

t.test('a large state goes into many small chunks and comes back whole', async (t) => {
  const cluster = newCluster()
  for (let i = 0; i < 3000; i += 1) cluster.does({ session: `s${i}`, seq: 1, ...assign(1, `t${i}`) })
  for (let i = 0; i < 300; i += 1) cluster.does(store({ writes: [{ key: `k${i}`, value: new Uint8Array(3000).fill(i) }] }))
  const messages = [...encodeSnapshot(freezeState(cluster.state, origin))]
  t.ok(messages.length > 10)
  t.ok(messages.every((m) => m.length <= 256 * 1024))
  t.equal(encoded(reloaded(cluster.state)), encoded(cluster.state))
  t.equal(reloaded(cluster.state).storeOf('f').bytes, cluster.state.storeOf('f').bytes)
})

t.test('a frozen state does not move with the commands that come after it', async (t) => {
  const cluster = newCluster()
  cluster.does(assign(1))
  cluster.does(store({ writes: [{ key: 'k', value: Uint8Array.of(1) }] }))
  const before = encoded(cluster.state)
  const frozen = freezeState(cluster.state, { nodeId: 'n', term: 1 })
  cluster.does(assign(2))
  cluster.does(store({ writes: [{ key: 'k', value: Uint8Array.of(2) }] }))
  cluster.does({ setAgentCondition: { agentId: 'a', condition: 'agent_gone' } })
  t.equal(Buffer.concat([...encodeSnapshot(frozen)]).toString('base64'), before)
})

t.test('the head tells index, term and feature level', async (t) => {
  const cluster = newCluster()
  const decoder = new SnapshotDecoder()
  for (const message of encodeSnapshot(freezeState(cluster.state, origin))) decoder.push(message)
  t.match(decoder.finish().head, { format: 1, clusterId: 'c', nodeId: 'n', index: 3, term: 4, featureLevel: 1 })
})

t.test('a snapshot of a newer format, without a head or with half a row is refused', async (t) => {
  const newer = new SnapshotDecoder()
  t.throws(() => newer.push(encodeMessage('SnapshotHead', { format: 2 })), { code: 'unsupported' })
  t.throws(() => new SnapshotDecoder().finish(), { code: 'corrupt' })
  const half = new SnapshotDecoder()
  half.push(encodeMessage('SnapshotHead', { format: 1 }))
  t.throws(() => half.push(encodeMessage('SnapshotChunk', { agents: [{ condition: 'active' }] })), { code: 'corrupt' })
})
