import type { Limits } from '../isolator.ts'
import type { Disk } from './disks.ts'

export interface CgroupWrite {
  readonly file: string
  readonly value: string
}

/** What the plan needs to know beyond the limits. */
export interface PlanFacts {
  /** By the path of the I/O limit. */
  readonly disks: ReadonlyMap<string, Disk>
  /** Files that a cgroup of this host has only under some kernels. */
  readonly has: (file: string) => boolean
}

export const noFacts: PlanFacts = { disks: new Map(), has: () => true }

const periodUs = 100_000
const none = 'max'

type Row = CgroupWrite & { readonly when: boolean; readonly otherwise: string }

/**
 * Every file that a limit stands in, with its value where nothing is asked for (Documentation/admin-guide/cgroup-v2). Arithmetic only;
 * tree.ts alone writes the result into the container's own cgroup.
 */
function rows(limits: Limits, { disks, has }: PlanFacts): readonly Row[] {
  const { milliCpu, memoryBytes } = limits
  const row = (file: string, when: boolean, value: string | number, otherwise: string): Row => ({
    file,
    when,
    value: String(value),
    otherwise
  })
  const bytes = (file: string, value: number | undefined, otherwise: string): Row =>
    row(file, (value ?? 0) > 0, value ?? 0, otherwise)
  const isIdle = limits.cpuIdle === true
  return [
    // The kernel takes no weight of a cgroup that is idle, and no burst above the quota.
    ...(isIdle ? [] : [row('cpu.idle', false, 1, '0')]),
    ...(isIdle ? [] : [row('cpu.weight', limits.cpuWeight !== undefined, limits.cpuWeight ?? 0, '100')]),
    ...(isIdle ? [row('cpu.idle', true, 1, '0')] : []),
    row('cpu.max.burst', false, 0, '0'),
    row('cpu.max', milliCpu > 0, `${quotaUs(milliCpu)} ${periodUs}`, `${none} ${periodUs}`),
    ...(limits.cpuBurstUs === undefined ? [] : [row('cpu.max.burst', true, limits.cpuBurstUs, '0')]),
    bytes('memory.min', limits.memoryMinBytes, '0'),
    bytes('memory.low', limits.memoryLowBytes, '0'),
    bytes('memory.high', limits.memoryHighBytes, none),
    bytes('memory.max', memoryBytes, none),
    row('memory.swap.max', memoryBytes > 0, limits.swapBytes ?? 0, none),
    row('memory.oom.group', limits.oomPolicy === 'task', 1, '0'),
    row('pids.max', true, limits.pidsMax, none),
    row(has('io.weight') ? 'io.weight' : 'io.bfq.weight', limits.ioWeight !== undefined, limits.ioWeight ?? 0, '100'),
    ...(limits.io ?? []).flatMap((io) => {
      const disk = disks.get(io.path)?.number ?? ''
      return [
        row('io.max', isAnyRate(io), `${disk} ${rates(io)}`, `${disk} ${rates(noRates)}`),
        row('io.latency', io.latencyUs > 0, `${disk} target=${io.latencyUs}`, `${disk} target=0`)
      ]
    }),
    row('memory.zswap.max', limits.zswapBytes !== undefined, Math.max(0, limits.zswapBytes ?? 0), none),
    ...(limits.rdma ?? []).map(({ device, handles, objects }) =>
      row('rdma.max', true, `${device} hca_handle=${handles || none} hca_object=${objects || none}`, '')
    ),
    ...(limits.misc ?? []).map(({ name, max }) => row('misc.max', true, `${name} ${max}`, '')),
    ...(limits.hugePages ?? []).map((h) => row(`hugetlb.${pageName(h.pageBytes)}.max`, true, h.maxBytes, none))
  ]
}

type Rates = Omit<NonNullable<Limits['io']>[number], 'path' | 'latencyUs'>

const noRates: Rates = { readBytesPerSecond: 0, writeBytesPerSecond: 0, readsPerSecond: 0, writesPerSecond: 0 }

const isAnyRate = (io: Rates): boolean => rates(io) !== rates(noRates)

const rates = (io: Rates): string =>
  (
    [
      ['rbps', io.readBytesPerSecond],
      ['wbps', io.writeBytesPerSecond],
      ['riops', io.readsPerSecond],
      ['wiops', io.writesPerSecond]
    ] as const
  )
    .map(([key, rate]) => `${key}=${rate > 0 ? rate : none}`)
    .join(' ')

/** `2MB`, `1GB`: the kernel's name of a size of huge pages, in files and in the runtime spec. */
export function pageName(bytes: number): string {
  if (bytes >= 1024 ** 3) return `${bytes / 1024 ** 3}GB`
  return bytes >= 1024 ** 2 ? `${bytes / 1024 ** 2}MB` : `${bytes / 1024}KB`
}

/** Of a cgroup that was just made: only what is asked for. */
export const planCgroup = (limits: Limits, facts: PlanFacts = noFacts): readonly CgroupWrite[] =>
  rows(limits, facts)
    .filter(({ when }) => when)
    .map(({ file, value }) => ({ file, value }))

/**
 * Of a cgroup that may hold other limits: everything, so that what was asked for before does not stay. Files whose value is the
 * default of a controller that nothing asks for may be absent: `isNeeded` says which must be there.
 */
export const planWhole = (
  limits: Limits,
  facts: PlanFacts = noFacts
): readonly (CgroupWrite & { readonly isNeeded: boolean })[] =>
  rows(limits, facts).map(({ file, value, when, otherwise }) => ({ file, value: when ? value : otherwise, isNeeded: when }))

/** The classic fields of the runtime spec, for hosts whose controllers sit on v1: the runtime sets them. */
export function planResources(limits: Limits, { disks }: PlanFacts = noFacts): Readonly<Record<string, unknown>> {
  const { milliCpu, memoryBytes, cpuWeight } = limits
  const cpu = {
    ...(milliCpu === 0 ? {} : { quota: quotaUs(milliCpu), period: periodUs }),
    ...(cpuWeight === undefined ? {} : { shares: sharesOf(cpuWeight) })
  }
  const swap = limits.swapBytes
  return {
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(memoryBytes === 0 ? {} : { memory: { limit: memoryBytes, ...(swap === undefined ? {} : { swap: memoryBytes + swap }) } }),
    pids: { limit: limits.pidsMax },
    ...((limits.io ?? []).length === 0 && limits.ioWeight === undefined ? {} : { blockIO: blockIo(limits, disks) }),
    ...((limits.hugePages ?? []).length === 0
      ? {}
      : { hugepageLimits: limits.hugePages?.map((h) => ({ pageSize: pageName(h.pageBytes), limit: h.maxBytes })) })
  }
}

/** A weight of 100 is the 1024 shares of every v1 cgroup; the kernel takes 2 to 262144. */
const sharesOf = (weight: number): number => Math.min(262_144, Math.max(2, Math.round((weight * 1024) / 100)))

function blockIo({ io = [], ioWeight }: Limits, disks: PlanFacts['disks']): Readonly<Record<string, unknown>> {
  const rate = (of: (limit: NonNullable<Limits['io']>[number]) => number) =>
    io.flatMap((limit) => {
      const [major, minor] = (disks.get(limit.path)?.number ?? '').split(':').map(Number)
      return of(limit) > 0 ? [{ major, minor, rate: of(limit) }] : []
    })
  return {
    // v1 takes 10 to 1000, with 500 as the default.
    ...(ioWeight === undefined ? {} : { weight: Math.min(1_000, Math.max(10, ioWeight * 5)) }),
    throttleReadBpsDevice: rate((l) => l.readBytesPerSecond),
    throttleWriteBpsDevice: rate((l) => l.writeBytesPerSecond),
    throttleReadIOPSDevice: rate((l) => l.readsPerSecond),
    throttleWriteIOPSDevice: rate((l) => l.writesPerSecond)
  }
}

/**
 * The same limits as files of the classic hierarchies (Documentation/admin-guide/cgroup-v1), by controller. `whole`: of cgroups that
 * may hold other limits, which then do not stay.
 */
export function planClassic(
  limits: Limits,
  of: 'new' | 'whole' = 'new'
): readonly { readonly controller: string; readonly writes: readonly CgroupWrite[] }[] {
  const { milliCpu, memoryBytes, cpuWeight } = limits
  const cpu = [
    { file: 'cpu.cfs_period_us', value: String(periodUs) },
    { file: 'cpu.cfs_quota_us', value: milliCpu === 0 ? '-1' : String(quotaUs(milliCpu)) },
    ...(of === 'whole' ? [{ file: 'cpu.shares', value: String(sharesOf(cpuWeight ?? 100)) }] : [])
  ]
  const memory = [
    { file: 'memory.limit_in_bytes', value: memoryBytes === 0 ? '-1' : String(memoryBytes) },
    ...(of === 'whole' ? [] : [{ file: 'memory.swappiness', value: '0' }])
  ]
  return [
    ...(milliCpu === 0 && of === 'new' ? [] : [{ controller: 'cpu', writes: cpu }]),
    ...(memoryBytes === 0 && of === 'new' ? [] : [{ controller: 'memory', writes: memory }]),
    { controller: 'pids', writes: [{ file: 'pids.max', value: String(limits.pidsMax) }] }
  ]
}

/** The kernel takes no quota below 1 ms. */
const quotaUs = (milliCpu: number): number => Math.max(1_000, Math.floor((milliCpu * periodUs) / 1_000))
