import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { type Credentials, readCredentials, writeCredentials } from '../identity/credentials.ts'
import { join, meet } from '../identity/enrolment.ts'
import { parseJoinToken } from '../identity/join-token.ts'
import { parsePlace } from '../identity/places.ts'
import type { MasterConfig } from './config.ts'
import { parseClusterKey, writeClusterKey } from './identity/cluster-key.ts'

interface Newcomer {
  readonly nodeId: string
  /** Undefined for one that is in no cluster yet. */
  readonly clusterId?: string
}

/**
 * What this master shows to others; where it has nothing good, it joins the cluster of `--join`. Undefined where that is not set: a
 * founder signs its own. Throws the Fault of the master that was asked.
 */
export async function ensureCredentials(
  { stateDir, join: order }: Pick<MasterConfig, 'stateDir' | 'join'>,
  { nodeId, clusterId }: Newcomer,
  { log, nowMs }: { readonly log: Log; readonly nowMs: number },
  signal: AbortSignal
): Promise<Credentials | undefined> {
  const found = await readCredentials(stateDir).catch((e: unknown) => {
    if (isFault(e, 'corrupt')) return undefined // what comes replaces it
    throw e
  })
  const isOwn = found?.name.role === 'master' && found.name.nodeId === nodeId && found.untilMs > nowMs
  if (isOwn && (clusterId === undefined || found.name.clusterId === clusterId)) return found
  if (order === undefined) return undefined
  const at = parsePlace(order.at)
  const token = parseJoinToken(await readTokenFile(order.tokenFile))
  const shown = await meet(at, token, signal)
  if (clusterId !== undefined && shown.clusterId !== clusterId) {
    throw new Fault('conflict', `this master belongs to cluster ${clusterId}, the one of --join to ${shown.clusterId}`)
  }
  const newcomer = { role: 'master' as const, nodeId, hostname: hostname() }
  const { credentials, clusterKey } = await join(at, { token, shown, newcomer }, signal)
  if (clusterKey !== undefined) await writeClusterKey(stateDir, parseClusterKey(clusterKey))
  await writeCredentials(stateDir, credentials)
  log.info({ nodeId, clusterId: shown.clusterId, untilMs: credentials.untilMs }, 'master.certified')
  return credentials
}

async function readTokenFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    throw new Fault('invalid', `--join-token-file ${path} cannot be read (${errnoOf(e) ?? String(e)})`, {}, e)
  }
}
