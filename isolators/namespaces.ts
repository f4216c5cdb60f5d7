import { readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { Fault } from '../base/fault.ts'
import type { Isolator, IsolatorRequest, SharedNamespace } from './isolator.ts'

const own = ['pid', 'mount', 'ipc', 'uts', 'cgroup'] as const

/** A namespace of its own, or the one it has in common with others. */
export function namespaceOf({ shared = [] }: Pick<IsolatorRequest, 'shared'>, type: string): { type: string; path?: string } {
  const path = shared.find((one) => one.type === type)?.path
  return path === undefined ? { type } : { type, path }
}

/** Own process ids, mounts, IPC, host name and cgroup view for every container; the network namespace is the network's matter. */
export const namespaces: Isolator = {
  name: 'namespaces',
  capabilities: async () => [],
  prepare: async (request) => ({ namespaces: own.map((type) => namespaceOf(request, type)) }),
  /** Who held a namespace may have ended, and its pid be another's, between the look at it and the runtime's. */
  async isolate({ shared = [] }, pid) {
    const [other] = shared.filter((one) => !isIn(pid, one))
    if (other !== undefined) throw new Fault('unavailable', `what holds the ${other.type} namespace ended as the container began`)
  },
  cleanup: async () => undefined
}

/** True of one that has ended too. */
function isIn(pid: number, { path, identity }: SharedNamespace): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/${basename(path)}`) === identity
  } catch {
    return true
  }
}
