import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { newNodeId } from '../proto/ids.ts'
import type { Ledger } from './ports.ts'
import { identityOf, readProvenance } from './rebuild.ts'

interface Parts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
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
