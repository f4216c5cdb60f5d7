import type { Isolator } from './isolator.ts'

/**
 * What a program that starts as root and drops to a user needs, and no more: no raw sockets, no device nodes, no tracing, no
 * kernel settings (capabilities(7)).
 */
export const defaultCapabilities = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT'
] as const

export const capabilities: Isolator = {
  name: 'capabilities',
  capabilities: async () => [],
  prepare: async ({ walls }) => ({
    capabilities: walls.capabilities,
    ambientCapabilities: walls.ambientCapabilities,
    noNewPrivileges: !walls.newPrivileges
  }),
  cleanup: async () => undefined
}
