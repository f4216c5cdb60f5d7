import t from 'tap'
import { parseLimits } from '../../cli/limit-options.ts'

t.test('the words of the command line become the limits of the API', async (t) => {
  t.equal(parseLimits({}), undefined)
  t.same(
    parseLimits({
      ...{ cpuWeight: '200', cpuBurst: '20ms', cpuIdle: true, exclusiveCores: '2', memoryMin: '1m', memoryLow: '2m' },
      ...{ memoryHigh: '3m', swap: '4m', oom: 'task', pids: '9', ioWeight: '50', hugePages: ['2m:64m'] },
      io: ['/data:read=1m,writes=7', '/with:colon:write=2m,latency=5ms'],
      ...{ zswap: 'none', numa: '0-1', memoryNodes: '0', rdma: ['mlx4_0:handles=2,objects=9'], misc: ['sev=3'] }
    }),
    {
      ...{ cpuWeight: 200, cpuBurstUs: 20_000, cpuIdle: true, exclusiveCores: 2, memoryMinBytes: 2 ** 20 },
      ...{ memoryLowBytes: 2 * 2 ** 20, memoryHighBytes: 3 * 2 ** 20, swapBytes: 4 * 2 ** 20, oomPolicy: 'task', pidsMax: 9 },
      ioWeight: 50,
      io: [
        { path: '/data', readBytesPerSecond: 2 ** 20, writesPerSecond: 7 },
        { path: '/with:colon', writeBytesPerSecond: 2 * 2 ** 20, latencyUs: 5_000 }
      ],
      hugePages: [{ pageBytes: 2 * 2 ** 20, maxBytes: 64 * 2 ** 20 }],
      ...{ zswapBytes: -1, numaNodes: '0-1', memoryNodes: '0', misc: [{ name: 'sev', max: 3 }] },
      rdma: [{ device: 'mlx4_0', handles: 2, objects: 9 }]
    }
  )
})

t.test('a mistake is told with the form that is meant', async (t) => {
  for (const [options, message] of [
    [{ io: ['/data'] }, /--io must be PATH:read=10m/],
    [{ io: ['/data:speed=1'] }, /--io must be PATH:read=10m/],
    [{ io: ['/data:read=fast'] }, /--io must be a size/],
    [{ rdma: ['mlx4_0'] }, /--rdma must be DEVICE:handles=2/],
    [{ rdma: ['mlx4_0:handles=many'] }, /--rdma must be a whole number/],
    [{ misc: ['sev'] }, /--misc must be NAME=MAX/],
    [{ zswap: 'little' }, /--zswap must be a size/],
    [{ hugePages: ['2m'] }, /--huge-pages must be SIZE:LIMIT/],
    [{ cpuWeight: 'heavy' }, /--cpu-weight must be a whole number/],
    [{ pids: '-1' }, /--pids must be a whole number/]
  ] as const)
    t.throws(() => parseLimits(options), { code: 'invalid', message })
})
