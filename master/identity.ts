import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import { randomToken } from '../base/random.ts'
import { replaceFile } from '../base/replace-file.ts'
import { type ClusterId, clusterId, type NodeId, newClusterId, newNodeId, nodeId } from '../proto/ids.ts'
import { founderId } from './consensus/membership.ts'

export interface Identity {
  readonly clusterId: ClusterId
  readonly nodeId: NodeId
  /** In the log; 1 for the founder. */
  readonly raftId: number
  /** Ids of the clusters that were given up for this one: their agents may come over. */
  readonly formerClusterIds: readonly string[]
}

/** Who this master is; written once, at its first start. Throws `Fault('corrupt')` where the file cannot be read. */
export async function ensureIdentity(stateDir: string): Promise<Identity> {
  const known = await readIdentity(stateDir)
  if (known !== undefined) return known
  const identity = { clusterId: newClusterId(), nodeId: newNodeId(), raftId: founderId, formerClusterIds: [] }
  await writeIdentity(stateDir, identity)
  return identity
}

export const writeIdentity = (stateDir: string, identity: Identity): Promise<void> =>
  replaceFile(identityPath(stateDir), `${JSON.stringify(identity, null, 2)}\n`, 0o644)

/** The id under which a master waits to be added; the same after a restart. */
export async function ensureWaitingId(stateDir: string): Promise<NodeId> {
  const path = join(stateDir, 'waiting-node-id')
  const known = (await readIfThere(path))?.trim() ?? ''
  if (known !== '') return nodeId(known)
  const own = newNodeId()
  await replaceFile(path, `${own}\n`, 0o644)
  return own
}

/** Undefined where no master has ever started. */
export async function readIdentity(stateDir: string): Promise<Identity | undefined> {
  const path = identityPath(stateDir)
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  try {
    const read = JSON.parse(text) as Partial<Record<keyof Identity, unknown>>
    const raftId = Number(read.raftId ?? founderId)
    const former = Array.isArray(read.formerClusterIds) ? read.formerClusterIds : []
    const formerClusterIds = former.map((id) => String(id))
    if (!Number.isSafeInteger(raftId) || raftId < 1) throw new Error(`no Raft id: ${String(read.raftId)}`)
    return { clusterId: clusterId(String(read.clusterId)), nodeId: nodeId(String(read.nodeId)), raftId, formerClusterIds }
  } catch (cause) {
    throw new Fault('corrupt', `${path} is damaged: restore it, the log belongs to the ids in it`, { path }, cause)
  }
}

const identityPath = (stateDir: string): string => join(stateDir, 'identity.json')

/** The secret in a file that only its owner reads; made where it is missing. */
export async function ensureToken(path: string): Promise<string> {
  const known = await readToken(path)
  if (known !== undefined) return known
  const token = randomToken()
  await writeToken(path, token)
  return token
}

/** Undefined where the file is missing or empty. */
export async function readToken(path: string): Promise<string | undefined> {
  const text = (await readIfThere(path))?.trim() ?? ''
  return text === '' ? undefined : text
}

/** Over whatever was there. */
export const writeToken = (path: string, token: string): Promise<void> => replaceFile(path, `${token}\n`, 0o600)

/** Group id of `hearth`, where the host has it. */
export async function hearthGroup(groupFile = '/etc/group'): Promise<number | undefined> {
  const [, , gid] =
    ((await readIfThere(groupFile)) ?? '')
      .split('\n')
      .find((line) => line.startsWith('hearth:'))
      ?.split(':') ?? []
  return gid === undefined ? undefined : Number(gid)
}

export async function ensureDirectories(stateDir: string, runDir: string): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o755 })
  await mkdir(runDir, { recursive: true, mode: 0o755 })
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
