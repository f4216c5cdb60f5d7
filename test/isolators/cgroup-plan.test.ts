import t from 'tap'
import { planCgroup, planResources } from '../../isolators/cgroup2/plan.ts'

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
