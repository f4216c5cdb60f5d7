import type { Limits } from '../isolators/isolator.ts'
import type { TaskDefinition } from '../proto/gen/messages.ts'
import { scalarOf } from '../proto/resources.ts'

const pidsMax = 4_096

/** What a task asks for, as the isolators understand it: what it did not say is not there. Pure. */
export function limitsOf(task: Pick<TaskDefinition, 'resources' | 'limits'> | undefined): Limits {
  const { resources = [], limits = null } = task ?? {}
  const classic = {
    milliCpu: scalarOf(resources, 'cpus'),
    memoryBytes: scalarOf(resources, 'mem'),
    diskBytes: scalarOf(resources, 'disk')
  }
  if (limits === null) return { ...classic, pidsMax }
  return {
    ...classic,
    pidsMax: limits.pidsMax || pidsMax,
    ...numbers({
      cpuWeight: limits.cpuWeight,
      cpuBurstUs: limits.cpuBurstUs,
      exclusiveCores: limits.exclusiveCores,
      memoryMinBytes: limits.memoryMinBytes,
      memoryLowBytes: limits.memoryLowBytes,
      memoryHighBytes: limits.memoryHighBytes,
      swapBytes: limits.swapBytes,
      ioWeight: limits.ioWeight
    }),
    ...(limits.cpuIdle ? { cpuIdle: true } : {}),
    ...(limits.oomPolicy === 'oom_task' ? { oomPolicy: 'task' } : {}),
    ...(limits.zswapBytes === 0 ? {} : { zswapBytes: limits.zswapBytes }),
    ...given({ numaNodes: limits.numaNodes, memoryNodes: limits.memoryNodes }),
    ...given({ io: limits.io, hugePages: limits.hugePages, rdma: limits.rdma, misc: limits.misc })
  }
}

const given = <T extends Readonly<Record<string, { readonly length: number }>>>(lists: T): Partial<T> =>
  Object.fromEntries(Object.entries(lists).filter(([, { length }]) => length > 0)) as Partial<T>

const numbers = <T extends Readonly<Record<string, number>>>(given: T): Partial<T> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value > 0)) as Partial<T>
