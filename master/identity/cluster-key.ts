import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { replaceFile } from '../../base/replace-file.ts'

/** Opens the key of the cluster's authority. In a file of each master and nowhere else: not in the log, a snapshot or a backup. */
export const clusterKeyFile = (stateDir: string): string => join(stateDir, 'cluster-key')

const bytesOfKey = 32

/** Undefined where this master has none. Throws `Fault('corrupt')`. */
export async function readClusterKey(stateDir: string): Promise<Uint8Array | undefined> {
  const path = clusterKeyFile(stateDir)
  try {
    return parseClusterKey((await readFile(path, 'utf8')).trim())
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined
    throw new Fault('corrupt', `${path} holds no cluster key: restore it, or copy it from another master`, { path }, cause)
  }
}

export function parseClusterKey(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.length !== bytesOfKey) throw new Error(`${bytes.length} bytes instead of ${bytesOfKey}`)
  return new Uint8Array(bytes)
}

export const clusterKeyText = (key: Uint8Array): string => Buffer.from(key).toString('base64url')

export async function writeClusterKey(stateDir: string, key: Uint8Array): Promise<void> {
  await replaceFile(clusterKeyFile(stateDir), `${clusterKeyText(key)}\n`, 0o600)
}

/** Makes one only for a cluster that has no authority yet: another key would open nothing. */
export async function ensureClusterKey(stateDir: string, isNew: boolean): Promise<Uint8Array | undefined> {
  const known = await readClusterKey(stateDir)
  if (known !== undefined || !isNew) return known
  const made = new Uint8Array(randomBytes(bytesOfKey))
  await writeClusterKey(stateDir, made)
  return made
}
