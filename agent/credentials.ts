import { readFile } from 'node:fs/promises'
import { errnoOf } from '../base/fault.ts'
import { authoritiesFile, type Credentials, mastersFile, nodeFile, parseCredentials } from '../identity/credentials.ts'

/** What this node shows to masters of other hosts; undefined where it has joined no cluster. Throws `Fault('corrupt')`. */
export async function readOwnCredentials(stateDir: string): Promise<Credentials | undefined> {
  const node = await readIfThere(nodeFile(stateDir))
  if (node === undefined) return undefined
  return parseCredentials(node, (await readIfThere(authoritiesFile(stateDir))) ?? '', stateDir)
}

/** The masters of the cluster that this node has joined; none where it has joined none. */
export async function readMasters(stateDir: string): Promise<readonly string[]> {
  const text = (await readIfThere(mastersFile(stateDir))) ?? ''
  return text.split('\n').filter((line) => line !== '')
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
