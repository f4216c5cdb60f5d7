import { Fault } from '../base/fault.ts'
import type { BundlePart, Isolator } from './isolator.ts'

/** What the kernel keeps for each IPC namespace (Documentation/admin-guide/sysctl/kernel.rst, namespaces(7)); each container has one. */
const ofIpc = [
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'fs.mqueue.'
] as const

/** What is kept for each network namespace (Documentation/admin-guide/sysctl/net.rst); of the rest of net. some are the host's. */
const ofNetwork = ['net.ipv4.', 'net.ipv6.', 'net.core.somaxconn', 'net.unix.max_dgram_qlen'] as const

/** Below net.ipv4 and net.ipv6, and yet of the host as a whole. */
const ofHost = ['net.ipv4.tcp_mem', 'net.ipv4.udp_mem', 'net.ipv4.inet_peer_', 'net.ipv4.tcp_max_orphans'] as const

const isAmong = (list: readonly string[], name: string): boolean =>
  list.some((one) => (one.endsWith('.') || one.endsWith('_') ? name.startsWith(one) : name === one))

/** Settings of the kernel (sysctl) that belong to the container's own namespaces and to nobody else. */
export const kernelSettings: Isolator = {
  name: 'kernel-settings',
  capabilities: async () => [],
  async prepare({ walls, network }): Promise<BundlePart> {
    for (const { name } of walls.settings) checkSetting(name, network)
    return walls.settings.length === 0 ? {} : { sysctl: Object.fromEntries(walls.settings.map((s) => [s.name, s.value])) }
  },
  cleanup: async () => undefined
}

function checkSetting(name: string, network: 'host' | 'none'): void {
  const refuse = (why: string): Fault => new Fault('invalid', why, { reason: 'unsupported_request', setting: name })
  if (!/^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/.test(name)) {
    throw refuse(`${JSON.stringify(name)} is no kernel setting: write it with dots, such as net.core.somaxconn`)
  }
  if (isAmong(ofIpc, name)) return
  if (!isAmong(ofNetwork, name) || isAmong(ofHost, name)) {
    throw refuse(`the kernel setting ${name} belongs to the whole node, or is not known to be safe: leave it out`)
  }
  if (network === 'host') {
    throw refuse(`the kernel setting ${name} belongs to the network, and the task uses the node’s: run it with --network none`)
  }
}
