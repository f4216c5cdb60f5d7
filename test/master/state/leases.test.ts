import t from 'tap'
import type { Init } from '../../../proto/codec.ts'
import type { Command } from '../../../proto/gen/messages.ts'
import { type Cluster, encoded, end, newCluster, reloaded } from './commands.ts'

const containerId = 'x'.repeat(32)
const named = (attempt: number) => ({ frameworkId: 'f', taskId: 't', attempt, containerId })
const leased = (attempt: number, more: object = {}): Init<Command> => ({
  assignTask: { ...named(attempt), agentId: 'a', leaseLengthMs: 10_000, ...more }
})
const grant = (attempt = 1): Init<Command> => ({ atMs: 77, grantLease: { ...named(attempt), epoch: 3 } })
const endLease: Init<Command> = { endLease: named(1) }
const gone = (more: object): Init<Command> => ({
  endTask: { ...named(1), status: { ...named(1), state: 'gone' }, ...more }
})

/** At the level that knows leases, with one on record. */
function withLease(): Cluster {
  const cluster = newCluster()
  for (const level of [2, 3, 4, 5]) cluster.does({ raiseFeatureLevel: { level } })
  cluster.does(leased(1))
  cluster.does(grant())
  return cluster
}
const rowOf = (cluster: Cluster) => cluster.state.assignmentOf('f', 't')

t.test('a lease is on record from its grant on, with the leader’s time, and is in snapshots', async (t) => {
  const cluster = withLease()
  t.match(rowOf(cluster), { lease: { epoch: 3, grantedAtMs: 77, over: false } })
  t.equal(cluster.does(grant()).refused, false, 'a repeat changes nothing')
  t.equal(encoded(reloaded(cluster.state)), encoded(cluster.state))
  t.match(reloaded(cluster.state).assignmentOf('f', 't')?.lease, { epoch: 3, over: false })
})

t.test('no other attempt takes the place of one whose lease may hold, however that one ended', async (t) => {
  const cluster = withLease()
  t.match(cluster.does(leased(2)), { code: 'conflict', message: /until the lease of that one is surely over/ })
  cluster.does(gone({}))
  t.match(cluster.does(leased(2)), { code: 'conflict' }, 'somebody gave it up, which ends nothing on its node')
  t.match(cluster.does(grant()), { refused: true }, 'and it is not granted again')
  t.equal(cluster.does(endLease).refused, false)
  t.match(rowOf(cluster)?.lease, { over: true })
  t.equal(cluster.does(leased(2)).refused, false)
  t.match(rowOf(cluster), { lease: null, ending: null })
})

t.test('an end of which nothing is left ends the lease too', async (t) => {
  const cluster = withLease()
  t.match(cluster.does(endLease), { refused: true, message: /has not ended/ })
  cluster.does(gone({ leaseOver: true }))
  t.match(rowOf(cluster)?.lease, { over: true })
  t.equal(cluster.does(leased(2)).refused, false)
})

t.test('what is forgotten is kept until its lease is over', async (t) => {
  const cluster = withLease()
  cluster.does(gone({}))
  t.equal(cluster.does({ forgetTask: { frameworkId: 'f', taskId: 't' } }).refused, false)
  t.match(cluster.does(leased(2)), { code: 'conflict' })
  cluster.does(endLease)
  t.equal(rowOf(cluster), undefined)
  t.equal(cluster.does(leased(1)).refused, false)
})

t.test('a lease is granted to what stands, was assigned with one, and lives', async (t) => {
  const cluster = withLease()
  t.match(cluster.does({ grantLease: { ...named(1), containerId: 'y'.repeat(32) } }), { code: 'not-found' })
  t.match(cluster.does(grant(2)), { code: 'not-found' })
  cluster.does({ assignTask: { ...named(1), taskId: 'plain', agentId: 'a' } })
  t.match(cluster.does({ grantLease: { ...named(1), taskId: 'plain' } }), { message: /without a lease/ })
  cluster.does(leased(1, { taskId: 'lone' }))
  cluster.does({ setAgentCondition: { agentId: 'a', condition: 'agent_gone' } })
  t.match(cluster.does({ grantLease: { ...named(1), taskId: 'lone' } }), { message: /is gone/ })
})

t.test('what lost masters may have granted is on record with the assignment; below the level nothing is', async (t) => {
  const cluster = newCluster()
  t.match(cluster.does(grant()), { code: 'unsupported' })
  cluster.does(leased(1))
  cluster.does(end(1))
  t.equal(cluster.does(leased(2, { leaseHeld: true })).refused, false)
  t.match(cluster.does(leased(3)), { code: 'conflict' })
})
