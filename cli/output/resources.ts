import type { Resource } from '../../proto/gen/messages.ts'
import { showBytes, showCpus } from '../amounts.ts'

/** The sum of one scalar over all its forms; 0 where there is none. */
export const amountOf = (resources: readonly Resource[], name: string): number =>
  resources.reduce((sum, r) => (r.name === name && r.kind === 'scalar' ? sum + r.scalar : sum), 0)

/** `0.5 CPUs, 64 MB, disk 1 GB`. */
export function showResources(resources: readonly Resource[]): string {
  return resources
    .map((r) => {
      if (r.kind === 'ranges') return `${r.name} ${r.ranges.map((s) => `${s.begin}-${s.end}`).join(',')}`
      if (r.kind === 'set') return `${r.name} ${r.items.join(',')}`
      if (r.name === 'cpus') return `${showCpus(r.scalar)} CPUs`
      if (r.name === 'mem') return `memory ${showBytes(r.scalar)}`
      return r.name === 'disk' ? `disk ${showBytes(r.scalar)}` : `${r.name} ${showCpus(r.scalar)}`
    })
    .join(', ')
}
