import { readFile } from 'node:fs/promises'
import { errnoOf } from '../../../base/fault.ts'
import { type HostRoots, systemRoots } from '../../host/cgroups.ts'

/** Where the host's views are; other folders in tests. */
export interface NodeRoots extends HostRoots {
  readonly run: string
}

export const nodeRoots: NodeRoots = { ...systemRoots, run: '/run' }

/** Undefined where there is no such file: a feature that this kernel or host does not have. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    // EOPNOTSUPP is what the kernel answers for pressure files where PSI is off.
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENOTDIR' || errnoOf(e) === 'EOPNOTSUPP') return undefined
    throw e
  }
}
