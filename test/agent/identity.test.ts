import t, { type Test } from 'tap'
import { becomeCertified } from '../../agent/identity.ts'
import { diskFiles } from '../../agent/ledger/files.ts'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { silentLog } from '../../base/log.ts'
import { newClusterId, newNodeId } from '../../proto/ids.ts'
import { taskRow } from './ledger/support.ts'

const own = { clusterId: newClusterId(), nodeId: newNodeId(), role: 'agent' as const }
const log = silentLog

async function ledgerOf(t: Test, head: { readonly agentId?: string; readonly clusterId?: string; readonly epoch?: number }) {
  const ledger = await openLedger({ log, files: diskFiles, onFatal: (e) => t.fail(e.message) }, { directory: t.testdir() })
  t.teardown(() => ledger.close())
  await ledger.append({ head: { ...ledger.view.head, ...head } }, 'disk')
  return ledger
}

t.test('a new host is who its certificate says', async (t) => {
  const ledger = await ledgerOf(t, {})
  await becomeCertified({ ledger, log }, own)
  t.match(ledger.view.head, { agentId: own.nodeId, clusterId: own.clusterId })
})

t.test('what an empty ledger remembers of another cluster is left behind, its epoch too', async (t) => {
  const ledger = await ledgerOf(t, { agentId: newNodeId(), clusterId: newClusterId(), epoch: 9 })
  await becomeCertified({ ledger, log }, own)
  t.match(ledger.view.head, { agentId: own.nodeId, clusterId: own.clusterId, epoch: 0 })
})

t.test('under a new id in the same cluster the epoch stays: orders of an old leader are void as before', async (t) => {
  const ledger = await ledgerOf(t, { agentId: newNodeId(), clusterId: own.clusterId, epoch: 9 })
  await becomeCertified({ ledger, log }, own)
  t.match(ledger.view.head, { agentId: own.nodeId, epoch: 9 })
})

t.test('tasks of another node or cluster keep the agent from starting, with what to do', async (t) => {
  const ledger = await ledgerOf(t, { agentId: newNodeId(), clusterId: newClusterId() })
  await ledger.append(taskRow(1), 'disk')
  await t.rejects(becomeCertified({ ledger, log }, own), { code: 'conflict', message: /hearth node stop --workloads/ })
  await ledger.append({ head: { ...ledger.view.head, agentId: own.nodeId, clusterId: own.clusterId } }, 'disk')
  await becomeCertified({ ledger, log }, own)
})
