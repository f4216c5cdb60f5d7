import t from 'tap'
import { planCgroup, planClassic, planResources, planWhole } from '../../isolators/cgroup2/plan.ts'
import type { Limits } from '../../isolators/isolator.ts'

const limits = { milliCpu: 500, memoryBytes: 64 * 1024 * 1024, diskBytes: 0, pidsMax: 100 }

t.test('half a CPU is half of each period', async (t) => {
  t.same(planCgroup(limits), [
    { file: 'cpu.max', value: '50000 100000' },
    { file: 'memory.max', value: '67108864' },
    { file: 'memory.swap.max', value: '0' },
    { file: 'pids.max', value: '100' }
  ])
  t.same(planResources(limits), { cpu: { quota: 50000, period: 100000 }, memory: { limit: 67108864 }, pids: { limit: 100 } })
})

t.test('what was not asked for is not limited, but pids always are', async (t) => {
  const none = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 7 }
  t.same(planCgroup(none), [{ file: 'pids.max', value: '7' }])
  t.same(planResources(none), { pids: { limit: 7 } })
})

t.test('a tiny share is raised to the smallest quota the kernel takes', async (t) => {
  t.match(planCgroup({ ...limits, milliCpu: 1 })[0], { value: '1000 100000' })
})

t.test('everything that can be limited on cgroup v2', async (t) => {
  const all: Limits = {
    ...limits,
    ...{ cpuWeight: 300, cpuBurstUs: 20_000, memoryMinBytes: 1, memoryLowBytes: 2, memoryHighBytes: 3, swapBytes: 4 },
    oomPolicy: 'task',
    ...{ ioWeight: 50, hugePages: [{ pageBytes: 2 ** 21, maxBytes: 2 ** 22 }] },
    io: [{ path: '/data', readBytesPerSecond: 0, writeBytesPerSecond: 9, readsPerSecond: 0, writesPerSecond: 7, latencyUs: 50 }],
    ...{ zswapBytes: -1, rdma: [{ device: 'mlx4_0', handles: 2, objects: 0 }], misc: [{ name: 'sev', max: 3 }] }
  }
  const facts = { disks: new Map([['/data', { number: '8:0' }]]), has: () => true }
  t.same(
    planCgroup(all, facts).map(({ file, value }) => `${file} ${value}`),
    [
      ...['cpu.weight 300', 'cpu.max 50000 100000', 'cpu.max.burst 20000', 'memory.min 1', 'memory.low 2', 'memory.high 3'],
      ...['memory.max 67108864', 'memory.swap.max 4', 'memory.oom.group 1', 'pids.max 100', 'io.weight 50'],
      ...['io.max 8:0 rbps=max wbps=9 riops=max wiops=7', 'io.latency 8:0 target=50', 'memory.zswap.max 0'],
      ...['rdma.max mlx4_0 hca_handle=2 hca_object=max', 'misc.max sev 3', 'hugetlb.2MB.max 4194304']
    ]
  )
  t.same(planResources(all, facts), {
    cpu: { quota: 50_000, period: 100_000, shares: 3072 },
    memory: { limit: 67_108_864, swap: 67_108_868 },
    pids: { limit: 100 },
    blockIO: {
      ...{ weight: 250, throttleReadBpsDevice: [], throttleReadIOPSDevice: [] },
      throttleWriteBpsDevice: [{ major: 8, minor: 0, rate: 9 }],
      throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 7 }]
    },
    hugepageLimits: [{ pageSize: '2MB', limit: 2 ** 22 }]
  })
  t.match(planCgroup({ ...limits, ioWeight: 5 }, { ...facts, has: () => false }).at(-1), { file: 'io.bfq.weight' })
})

t.test('a change writes every limit, so that none of before stays, in an order that the kernel takes', async (t) => {
  const of = (more: object): readonly string[] =>
    planWhole({ ...limits, ...more }).map(({ file, value, isNeeded }) => `${file} ${value}${isNeeded ? '' : ' (default)'}`)
  t.same(of({}).slice(0, 4), [
    'cpu.idle 0 (default)',
    'cpu.weight 100 (default)',
    'cpu.max.burst 0 (default)',
    'cpu.max 50000 100000'
  ])
  t.ok(of({ memoryBytes: 0 }).includes('memory.max max (default)'))
  t.same(of({ cpuIdle: true })[0], 'cpu.idle 1', 'the kernel takes no weight of what is idle')
  const burst = of({ cpuBurstUs: 7 })
  t.ok(burst.indexOf('cpu.max.burst 0 (default)') < burst.indexOf('cpu.max 50000 100000'))
  t.ok(burst.indexOf('cpu.max 50000 100000') < burst.indexOf('cpu.max.burst 7'))
})

t.test('a change on cgroup v1 takes limits away too', async (t) => {
  const none = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 7 }
  t.same(
    planClassic(none, 'whole').flatMap(({ writes }) => writes.map(({ file, value }) => `${file} ${value}`)),
    ['cpu.cfs_period_us 100000', 'cpu.cfs_quota_us -1', 'cpu.shares 1024', 'memory.limit_in_bytes -1', 'pids.max 7']
  )
})
