import type { Isolator } from './isolator.ts'

/** Own process ids, mounts, IPC, host name and cgroup view for every container; the network namespace is the network's matter. */
export const namespaces: Isolator = {
  name: 'namespaces',
  capabilities: async () => [],
  prepare: async () => ({ namespaces: ['pid', 'mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type })) }),
  cleanup: async () => undefined
}
