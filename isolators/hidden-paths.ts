import { Fault } from '../base/fault.ts'
import type { Isolator } from './isolator.ts'

/** Files of the kernel that tell about the host: hidden. The OCI runtimes' defaults, and what else shows the host's memory. */
const hidden = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/kpagecgroup',
  '/proc/kpagecount',
  '/proc/kpageflags',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/vmallocinfo',
  '/sys/dev/block',
  '/sys/devices/virtual/powercap',
  '/sys/firmware'
] as const

/** Files of the kernel that change the host: readable only. */
const readOnly = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'] as const

export const hiddenPaths: Isolator = {
  name: 'hidden-paths',
  capabilities: async () => [],
  async prepare({ walls }) {
    for (const path of [...walls.hiddenPaths, ...walls.readOnlyPaths]) check(path)
    return { maskedPaths: [...hidden, ...walls.hiddenPaths], readonlyPaths: [...readOnly, ...walls.readOnlyPaths] }
  },
  cleanup: async () => undefined
}

function check(path: string): void {
  if (path.startsWith('/') && path !== '/' && !path.split('/').includes('..')) return
  const say = `${JSON.stringify(path)} cannot be hidden or made read-only: write an absolute path below /, without ..`
  throw new Fault('invalid', say, { reason: 'task_invalid' })
}
