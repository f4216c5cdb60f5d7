import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkHardware, coresOf } from '../../isolators/cgroup2/numa.ts'
import type { Limits } from '../../isolators/isolator.ts'

/** What a host with two NUMA nodes, an RDMA device and counted memory encryption shows. */
function host(t: Test) {
  const sys = t.testdir({
    devices: { system: { node: { online: '0-1\n', node0: { cpulist: '0-1\n' }, node1: { cpulist: '2-3\n' } } } }
  })
  mkdirSync(join(sys, 'class/infiniband/mlx4_0'), { recursive: true })
  writeFileSync(join(sys, 'misc.capacity'), 'sev 509\nsev_es 15\n')
  return { sys, check: (more: Partial<Limits>) => checkHardware({ ...none, ...more }, sys, sys) }
}

const none: Limits = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 100 }

t.test('the processors of nodes are what the kernel says', async (t) => {
  const { sys } = host(t)
  t.same(coresOf('1', sys), [2, 3])
  t.same(coresOf('0-1', sys), [0, 1, 2, 3])
  t.same(coresOf('7', sys), [], 'a node that went away has none')
})

t.test('what the host has is taken, and what it has not is named', async (t) => {
  const { check } = host(t)
  const rdma = (device: string) => ({ rdma: [{ device, handles: 1, objects: 0 }] })
  t.doesNotThrow(() => check({}))
  t.doesNotThrow(() => check({ numaNodes: '0-1', memoryNodes: '1', misc: [{ name: 'sev_es', max: 1 }], ...rdma('mlx4_0') }))
  for (const [wish, message] of [
    [{ numaNodes: '0,2' }, 'this node has no NUMA node 2: it has 0-1'],
    [{ memoryNodes: '5' }, /NUMA node 5/],
    [{ misc: [{ name: 'tdx', max: 1 }] }, /no counted resource tdx: its misc controller counts sev, sev_es/],
    [rdma('mlx5_0'), /no RDMA device mlx5_0/]
  ] as const)
    t.throws(() => check(wish), { code: 'invalid', message })
})
