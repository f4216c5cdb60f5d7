import { join } from 'node:path'
import { Fault, isFault } from '../../base/fault.ts'
import { type Credentials, readCredentials, writeCredentials, writeMasters } from '../../identity/credentials.ts'
import { join as enrol, meet, renew, type Shown } from '../../identity/enrolment.ts'
import type { JoinToken } from '../../identity/join-token.ts'
import { type MasterPlace, placeText } from '../../identity/places.ts'
import { newNodeId } from '../../proto/ids.ts'
import { readLedger } from '../ledger/read.ts'

export interface Joined {
  readonly clusterId: string
  readonly nodeId: string
  readonly untilMs: number
  /** It had joined before, and its certificate was renewed. */
  readonly before: boolean
}

interface Order {
  readonly stateDir: string
  readonly hostname: string
  readonly at: MasterPlace
  readonly token: JoinToken
}

/**
 * Makes the host of a state directory a node of the master's cluster. Repeatable: a host that has joined gets a newer certificate and
 * keeps its id and its tasks. Rejects with `Fault('conflict')` where tasks of another cluster are left, before the token is used.
 */
export async function joinHost({ stateDir, hostname, at, token }: Order, signal: AbortSignal): Promise<Joined> {
  const shown = await meet(at, token, signal)
  const known = await readCredentials(stateDir).catch(() => undefined) // damaged: what comes replaces it
  const renewed = known?.name.clusterId === shown.clusterId ? await renewedOf(at, known, signal) : undefined
  const credentials = renewed ?? (await admitted({ stateDir, hostname, at, token }, shown, signal))
  await writeCredentials(stateDir, credentials)
  await writeMasters(stateDir, [`tls:${placeText(at)}`])
  const { name, untilMs } = credentials
  return { clusterId: name.clusterId, nodeId: name.nodeId, untilMs, before: renewed !== undefined }
}

/** Undefined where the cluster no longer takes what this host has: it was removed, or has slept too long. */
async function renewedOf(at: MasterPlace, known: Credentials, signal: AbortSignal): Promise<Credentials | undefined> {
  try {
    return (await renew(at, known, signal)).credentials
  } catch (e) {
    if (isFault(e, 'denied')) return undefined
    throw e
  }
}

async function admitted({ stateDir, hostname, at, token }: Order, shown: Shown, signal: AbortSignal): Promise<Credentials> {
  const { head, tasks } = await readLedger(join(stateDir, 'agent/ledger'))
  const isOfCluster = head.agentId !== '' && head.clusterId === shown.clusterId
  if (!isOfCluster && tasks.size > 0) {
    const next = 'end them with hearth node stop --workloads, then join'
    throw new Fault('conflict', `${tasks.size} tasks of cluster ${head.clusterId} are left on this host: ${next}`)
  }
  const ask = async (nodeId: string): Promise<Credentials> => {
    const newcomer = { role: 'agent' as const, nodeId, hostname }
    return (await enrol(at, { token, shown, newcomer }, signal)).credentials
  }
  if (!isOfCluster) return await ask(newNodeId())
  try {
    return await ask(head.agentId)
  } catch (e) {
    // Removed for good, or somebody else's by now: with nothing left of its old life it begins a new one.
    if (isFault(e, 'conflict') && tasks.size === 0) return await ask(newNodeId())
    throw e
  }
}
