import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import { randomToken } from '../base/random.ts'
import { replaceFile } from '../base/replace-file.ts'
import { type ClusterId, clusterId, type NodeId, newClusterId, newNodeId, nodeId } from '../proto/ids.ts'

export interface Identity {
  readonly clusterId: ClusterId
  readonly nodeId: NodeId
}

/** Who this master is; written once, at its first start. Throws `Fault('corrupt')` where the file cannot be read. */
export async function ensureIdentity(stateDir: string): Promise<Identity> {
  const known = await readIdentity(stateDir)
  if (known !== undefined) return known
  const identity = { clusterId: newClusterId(), nodeId: newNodeId() }
  await replaceFile(identityPath(stateDir), `${JSON.stringify(identity, null, 2)}\n`, 0o644)
  return identity
}

/** Undefined where no master has ever started. */
export async function readIdentity(stateDir: string): Promise<Identity | undefined> {
  const path = identityPath(stateDir)
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  try {
    const read = JSON.parse(text) as { readonly clusterId?: unknown; readonly nodeId?: unknown }
    return { clusterId: clusterId(String(read.clusterId)), nodeId: nodeId(String(read.nodeId)) }
  } catch (cause) {
    throw new Fault('corrupt', `${path} is damaged: restore it, the log belongs to the ids in it`, { path }, cause)
  }
}

const identityPath = (stateDir: string): string => join(stateDir, 'identity.json')

/** The secret in a file that only its owner reads; made where it is missing. */
export async function ensureToken(path: string): Promise<string> {
  const text = (await readIfThere(path))?.trim() ?? ''
  if (text !== '') return text
  const token = randomToken()
  await replaceFile(path, `${token}\n`, 0o600)
  return token
}

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
