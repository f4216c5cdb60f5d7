import t from 'tap'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskLimits } from '../../proto/gen/messages.ts'
import { capabilitiesFor, checkLimits } from '../../proto/limits.ts'
import { scalar } from '../../proto/resources.ts'

const mebibyte = 1024 * 1024
const asking = (limits: Init<TaskLimits>, mem = 0, cpus = 0) =>
  completeMessage('TaskDefinition', {
    limits,
    resources: [...(mem === 0 ? [] : [scalar('mem', mem)]), ...(cpus === 0 ? [] : [scalar('cpus', cpus)])]
  })

t.test('limits that can be kept are taken', async (t) => {
  t.doesNotThrow(() => checkLimits(asking({})))
  t.doesNotThrow(() => checkLimits(asking({ cpuWeight: 1, ioWeight: 10_000, pidsMax: 16 })))
  t.doesNotThrow(() => checkLimits(asking({ exclusiveCores: 2 }, 0, 2_000)))
  t.doesNotThrow(() => checkLimits(asking({ cpuBurstUs: 50_000 }, 0, 500)))
  t.doesNotThrow(() =>
    checkLimits(asking({ memoryMinBytes: 1, memoryLowBytes: 2, memoryHighBytes: 5 * mebibyte, swapBytes: 1 }, 8 * mebibyte))
  )
  t.doesNotThrow(() => checkLimits(asking({ zswapBytes: -1, numaNodes: '0,2-3', memoryNodes: '1' })))
  t.doesNotThrow(() =>
    checkLimits(asking({ io: [{ path: '/data', readsPerSecond: 1 }], hugePages: [{ pageBytes: 2 * mebibyte, maxBytes: 0 }] }))
  )
})

for (const [sentence, limits, mem, cpus, complaint] of [
  ['a negative one', { memoryLowBytes: -1 }, 0, 0, /memoryLowBytes cannot be -1/],
  ['fewer processes than the runtime has', { pidsMax: 5 }, 0, 0, /at least 16, not 5/],
  ['more processes than there can be', { pidsMax: 5_000_000 }, 0, 0, /at most 4194304/],
  ['memory below the floor', {}, mebibyte, 0, /a memory limit is at least 4 MiB/],
  ['a CPU limit below the floor', {}, 0, 5, /a CPU limit is at least 0.01, not 0.005/],
  ['a weight above the kernel’s', { cpuWeight: 10_001 }, 0, 0, /1 to 10000, not 10001/],
  ['a weight of what is idle', { cpuIdle: true, cpuWeight: 5 }, 0, 0, /leave one of them out/],
  ['a burst of nothing', { cpuBurstUs: 1 }, 0, 0, /give --cpus too/],
  ['a burst above the quota', { cpuBurstUs: 60_000 }, 0, 500, /at most .* 50000 µs, not 60000/],
  ['cores that are not reserved', { exclusiveCores: 2 }, 0, 500, /ask for 2 CPUs, not 0.5/],
  [
    'min above low',
    { memoryMinBytes: 2 * mebibyte, memoryLowBytes: mebibyte },
    8 * mebibyte,
    0,
    /memory min \(2 MiB\) is above memory low/
  ],
  [
    'high above the limit',
    { memoryHighBytes: 9 * mebibyte },
    8 * mebibyte,
    0,
    /memory high \(9 MiB\) is above the memory limit \(8 MiB\)/
  ],
  ['min without a reservation', { memoryMinBytes: mebibyte }, 0, 0, /give --memory too/],
  ['swap alone', { swapBytes: 1 }, 0, 0, /give --memory too/],
  ['a relative path', { io: [{ path: 'data', readsPerSecond: 1 }] }, 0, 0, /absolute path, not "data"/],
  ['no rate', { io: [{ path: '/data' }] }, 0, 0, /limits nothing/],
  ['a rate below the floor', { io: [{ path: '/data', writeBytesPerSecond: 1 }] }, 0, 0, /at least 4096 bytes a second/],
  ['compressed swap without swap', { zswapBytes: mebibyte }, 0, 0, /give --swap too/],
  ['less compressed swap than none', { zswapBytes: -2 }, 0, 0, /zswapBytes cannot be -2/],
  ['what is no list of nodes', { numaNodes: '0;1' }, 0, 0, /such as 0 or 0,2-3, not "0;1"/],
  ['an RDMA limit of nothing', { rdma: [{ device: 'mlx4_0' }] }, 0, 0, /limits nothing/],
  ['a name with a second line', { misc: [{ name: 'sev\n1', max: 1 }] }, 0, 0, /such as sev, not/],
  ['odd pages', { hugePages: [{ pageBytes: 3, maxBytes: 3 }] }, 0, 0, /no huge pages of 3 bytes/],
  ['half a page', { hugePages: [{ pageBytes: 2 * mebibyte, maxBytes: mebibyte }] }, 0, 0, /whole number of huge pages/]
] as const) {
  t.test(`${sentence} is refused`, async (t) => {
    t.throws(() => checkLimits(asking(limits as Init<TaskLimits>, mem, cpus)), { code: 'invalid', message: complaint })
  })
}

t.test('every mistake is told at once', async (t) => {
  t.throws(() => checkLimits(asking({ cpuWeight: 20_000, ioWeight: 20_000 })), { message: /CPU weight.*; .*I\/O weight/ })
})

t.test('what is asked for names what the node must have', async (t) => {
  t.same(capabilitiesFor(completeMessage('TaskDefinition', {})), [])
  const io = [
    { path: '/', writesPerSecond: 1 },
    { path: '/data', latencyUs: 1 }
  ]
  t.same(capabilitiesFor(asking({ cpuIdle: true, oomPolicy: 'oom_task', io, numaNodes: '0', misc: [{ name: 'sev', max: 1 }] })), [
    ...['limit.cpu.idle', 'limit.memory.oom-task', 'limit.numa', 'limit.misc', 'limit.io', 'limit.io.latency']
  ])
  const apart = (mounts: readonly object[], runtime = ''): readonly string[] =>
    capabilitiesFor(completeMessage('TaskDefinition', { walls: { userNamespace: true }, mounts, runtime }))
  t.same(apart([]), ['task.walls', 'user-namespace'])
  t.same(apart([{ source: '/data' }]), ['task.walls', 'user-namespace', 'mount.idmap.runc'])
  t.same(apart([{ source: '/data' }], 'crun'), ['task.walls', 'user-namespace', 'mount.idmap.crun'])
})
