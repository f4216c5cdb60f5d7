import type { Isolator } from './isolator.ts'

/** Files of the kernel that tell about the host or change it: hidden, or readable only. The list of the OCI runtimes' defaults. */
export const hiddenPaths: Isolator = {
  name: 'hidden-paths',
  capabilities: async () => [],
  prepare: async () => ({
    maskedPaths: [
      '/proc/acpi',
      '/proc/asound',
      '/proc/interrupts',
      '/proc/kcore',
      '/proc/keys',
      '/proc/latency_stats',
      '/proc/sched_debug',
      '/proc/scsi',
      '/proc/timer_list',
      '/proc/timer_stats',
      '/sys/dev/block',
      '/sys/devices/virtual/powercap',
      '/sys/firmware'
    ],
    readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
  }),
  cleanup: async () => undefined
}
