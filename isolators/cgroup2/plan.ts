import type { Limits } from '../isolator.ts'

export interface CgroupWrite {
  readonly file: string
  readonly value: string
}

const periodUs = 100_000

/** Arithmetic only; tree.ts alone writes the result into the container's own cgroup (Documentation/admin-guide/cgroup-v2). */
export function planCgroup(limits: Limits): readonly CgroupWrite[] {
  const cpu = limits.milliCpu === 0 ? [] : [{ file: 'cpu.max', value: `${quotaUs(limits.milliCpu)} ${periodUs}` }]
  const memory =
    limits.memoryBytes === 0
      ? []
      : [
          { file: 'memory.max', value: String(limits.memoryBytes) },
          { file: 'memory.swap.max', value: '0' }
        ]
  return [...cpu, ...memory, { file: 'pids.max', value: String(limits.pidsMax) }]
}

/** The classic fields of the runtime spec, for hosts whose controllers sit on v1: the runtime sets them. */
export function planResources(limits: Limits): Readonly<Record<string, unknown>> {
  return {
    ...(limits.milliCpu === 0 ? {} : { cpu: { quota: quotaUs(limits.milliCpu), period: periodUs } }),
    ...(limits.memoryBytes === 0 ? {} : { memory: { limit: limits.memoryBytes } }),
    pids: { limit: limits.pidsMax }
  }
}

/** The same limits as files of the classic hierarchies (Documentation/admin-guide/cgroup-v1), by controller. */
export function planClassic(limits: Limits): readonly { readonly controller: string; readonly writes: readonly CgroupWrite[] }[] {
  const cpu = [
    { file: 'cpu.cfs_period_us', value: String(periodUs) },
    { file: 'cpu.cfs_quota_us', value: String(quotaUs(limits.milliCpu)) }
  ]
  const memory = [
    { file: 'memory.limit_in_bytes', value: String(limits.memoryBytes) },
    { file: 'memory.swappiness', value: '0' }
  ]
  return [
    ...(limits.milliCpu === 0 ? [] : [{ controller: 'cpu', writes: cpu }]),
    ...(limits.memoryBytes === 0 ? [] : [{ controller: 'memory', writes: memory }]),
    { controller: 'pids', writes: [{ file: 'pids.max', value: String(limits.pidsMax) }] }
  ]
}

/** The kernel takes no quota below 1 ms. */
const quotaUs = (milliCpu: number): number => Math.max(1_000, Math.floor((milliCpu * periodUs) / 1_000))
