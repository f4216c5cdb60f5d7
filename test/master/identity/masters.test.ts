import t from 'tap'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { newCertificateRequest } from '../../../identity/certificate-request.ts'
import { credentialsOf } from '../../../identity/credentials.ts'
import { earlyMs } from '../../../identity/lifetime.ts'
import type { Caller } from '../../../master/api/caller.ts'
import { isGoodMaster } from '../../../master/identity/guard.ts'
import { issueByLeader } from '../../../master/identity/leader-desk.ts'
import { ClusterState } from '../../../master/state/cluster.ts'
import { clusterId, newNodeId } from '../../../proto/ids.ts'
import { never } from '../../support/certified.ts'
import { startRelay } from '../../support/relay.ts'
import { startTestMaster } from '../../support/test-master.ts'

t.test('a master that follows gets its first certificate and the next one from the leader', async (t) => {
  const leader = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0 })
  t.teardown(() => leader.stop())
  const { state } = leader.replica
  const relay = startRelay(leader.socket, { clock: systemClock, log: silentLog })
  const own = { clusterId: clusterId(state.clusterId), nodeId: newNodeId(), hostname: 'm2' }
  const parts = { state, post: (...of: Parameters<typeof relay.post>) => relay.post(...of) }
  const serials: string[] = []
  for (const _ of ['admitted', 'renewed']) {
    const { key, request } = await newCertificateRequest()
    const { certificate, authorities } = await issueByLeader(parts, own, request, never())
    const credentials = credentialsOf({ key, certificate, authorities })
    t.match(credentials.name, { role: 'master', nodeId: own.nodeId, clusterId: own.clusterId })
    serials.push(credentials.serial)
  }
  t.same(state.nodeIdentities.get(own.nodeId)?.serials, serials, 'both stand in the log')
  const stranger: Caller = { who: 'a stranger', from: '192.0.2.7', tenant: '' }
  await t.rejects(relay.post('/v1/tokens', { role: 'master', ttlMs: 60_000, uses: 1 }, stranger, never()), { code: 'denied' })
})

t.test('between masters counts what the log tells, and what is too young to stand in it', async (t) => {
  const state = new ClusterState()
  const row = { hostname: '', notAfterMs: 0, authority: '', admittedAtMs: 0 }
  state.atMs = 10 * earlyMs
  state.nodeIdentities.set('m', { ...row, nodeId: 'm', role: 'master', serials: ['02', '03'] })
  state.nodeIdentities.set('a', { ...row, nodeId: 'a', role: 'agent', serials: ['04'] })
  const [old, young] = [earlyMs, state.atMs]
  t.ok(isGoodMaster(undefined, 'm', '09', old), 'a master without a log has to believe the chain')
  t.ok(isGoodMaster(state, 'm', '02', old))
  t.notOk(isGoodMaster(state, 'm', '01', old), 'renewed twice since')
  t.notOk(isGoodMaster(state, 'removed', '01', old))
  t.notOk(isGoodMaster(state, 'a', '04', old), 'an agent is no master')
  t.ok(isGoodMaster(state, 'new', '01', young), 'the log may lack its admission')
})
