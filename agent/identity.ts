import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { CertifiedName } from '../identity/name.ts'
import { newNodeId } from '../proto/ids.ts'
import type { Ledger } from './ports.ts'
import { identityOf, readProvenance } from './rebuild.ts'

interface Parts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
}

/**
 * A node that has joined a cluster is who its certificate says. What a ledger remembers of an earlier life in another cluster does
 * not matter once nothing is left of it. Throws `Fault('conflict')` where tasks of another node or cluster are left.
 */
export async function becomeCertified(
  { ledger, log }: Pick<Parts, 'ledger' | 'log'>,
  { nodeId, clusterId }: CertifiedName
): Promise<void> {
  const { head, tasks } = ledger.view
  if (head.agentId === nodeId && head.clusterId === clusterId) return
  const isNew = head.agentId === '' || (head.agentId === nodeId && head.clusterId === '')
  if (!isNew && [...tasks].length > 0) {
    const whose = head.clusterId === clusterId ? `node ${head.agentId}` : `cluster ${head.clusterId}`
    throw new Fault(
      'conflict',
      `tasks of ${whose} are left here: end them with hearth node stop --workloads, then start the agent`
    )
  }
  const epoch = head.clusterId === clusterId ? head.epoch : 0
  log.info({ nodeId, clusterId, before: head.agentId }, 'node.certified')
  await ledger.append({ head: { ...head, agentId: nodeId, clusterId, epoch } }, 'disk')
}

/**
 * Gives a ledger without one an identity: that of the containers which run from this directory, whose ledger was lost, else a
 * new one. Resolves with whether the ledger is whole: it has been one all the time and nothing of it was ever damaged.
 */
export async function identify({ ledger, clock, log }: Parts, runDir: string): Promise<boolean> {
  const { head } = ledger.view
  if (head.agentId !== '') return ledger.quarantined.length === 0
  const found = identityOf((await bundlesOf(runDir)).flatMap((id) => readProvenance(runDir, id) ?? []))
  const { agentId, clusterId } = found ?? { agentId: newNodeId(), clusterId: head.clusterId }
  if (found !== undefined) {
    log.error({ agentId, clusterId }, 'ledger.rebuilt_from_containers')
    // The master ignores status numbers that it has seen. The ones used are lost: no agent makes one a millisecond.
    await ledger.append({ acknowledged: { number: Math.round(clock.wallMs()) } }, 'disk')
  }
  await ledger.append({ head: { ...head, agentId, clusterId } }, 'disk')
  return false
}

/** Names of the bundles that lie there, whoever made them. */
export const bundlesOf = (runDir: string): Promise<readonly string[]> => readdir(join(runDir, 'c')).catch(() => []) // no container was ever made here
