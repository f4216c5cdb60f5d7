import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import type { HostCapability } from '../isolator.ts'
import type { CgroupLayout } from './layout.ts'

/** What the controllers of this host can limit, and what is missing and why. */

interface Offer {
  readonly name: string
  readonly controller: string
  /** Of cgroup v2. */
  readonly how: string
  /** Why it cannot be on v1 or hybrid hosts; absent where the runtime sets it there. */
  readonly notClassic?: string
  /** Of v1, where its controller has another name. */
  readonly classic?: string
}

const wholeV2 = 'Hearth shares out processors and memory nodes only on cgroup v2: boot with systemd.unified_cgroup_hierarchy=1'
const onlyV2 = 'cgroup v1 has no such limit: boot with systemd.unified_cgroup_hierarchy=1'

/** One row for each limit that a task can ask for (proto/limits.ts). */
const offers: readonly Offer[] = [
  { name: 'limit.cpu', controller: 'cpu', how: 'cpu.max' },
  { name: 'limit.cpu.weight', controller: 'cpu', how: 'cpu.weight' },
  { name: 'limit.cpu.burst', controller: 'cpu', how: 'cpu.max.burst', notClassic: 'runc before 1.2 sets no burst on cgroup v1' },
  { name: 'limit.cpu.idle', controller: 'cpu', how: 'cpu.idle', notClassic: onlyV2 },
  { name: 'limit.cpu.exclusive', controller: 'cpuset', how: 'cpuset.cpus of every container', notClassic: wholeV2 },
  { name: 'limit.numa', controller: 'cpuset', how: 'cpuset.cpus and cpuset.mems', notClassic: wholeV2 },
  { name: 'limit.memory', controller: 'memory', how: 'memory.max' },
  { name: 'limit.memory.min', controller: 'memory', how: 'memory.min', notClassic: onlyV2 },
  { name: 'limit.memory.low', controller: 'memory', how: 'memory.low', notClassic: onlyV2 },
  { name: 'limit.memory.high', controller: 'memory', how: 'memory.high', notClassic: onlyV2 },
  { name: 'limit.memory.swap', controller: 'memory', how: 'memory.swap.max' },
  { name: 'limit.memory.zswap', controller: 'memory', how: 'memory.zswap.max', notClassic: onlyV2 },
  { name: 'limit.memory.oom-task', controller: 'memory', how: 'memory.oom.group', notClassic: onlyV2 },
  { name: 'limit.pids', controller: 'pids', how: 'pids.max' },
  { name: 'limit.io', controller: 'io', how: 'io.max', classic: 'blkio' },
  { name: 'limit.io.weight', controller: 'io', how: 'io.weight', classic: 'blkio' },
  { name: 'limit.io.latency', controller: 'io', how: 'io.latency', notClassic: onlyV2 },
  { name: 'limit.rdma', controller: 'rdma', how: 'rdma.max', notClassic: onlyV2 },
  { name: 'limit.misc', controller: 'misc', how: 'misc.max', notClassic: onlyV2 },
  { name: 'limit.hugepages', controller: 'hugetlb', how: 'hugetlb.SIZE.max' }
]

/** Linux 5.15: cpu.idle. Older ones have everything else (the floor is 5.14). */
const since: Readonly<Record<string, readonly [number, number]>> = { 'limit.cpu.idle': [5, 15] }

/** `files`: the names of the files of any cgroup of ours; empty where there is none yet. */
export function cgroupCapabilities(layout: CgroupLayout, kernel = release()): readonly HostCapability[] {
  const inTree = controllersOf(layout)
  return [
    { name: 'cgroup.mode', present: true, detail: layout.mode },
    ...offers.map((offer): HostCapability => {
      const { name } = offer
      const missing = layout.mode === 'v2' ? missingV2(offer, inTree, kernel, layout) : missingClassic(offer, layout)
      if (missing !== undefined) return { name, present: false, detail: missing }
      const how = layout.mode === 'v2' ? `cgroup v2, ${offer.how}` : `cgroup v1 (${layout.mode} host), through the runtime`
      return { name, present: true, detail: how }
    })
  ]
}

function controllersOf({ unified }: CgroupLayout): ReadonlySet<string> {
  if (unified === undefined) return new Set()
  return new Set(readFileSync(join(unified, 'cgroup.controllers'), 'utf8').trim().split(/\s+/))
}

function missingV2(
  { name, controller, how }: Offer,
  inTree: ReadonlySet<string>,
  kernel: string,
  { unified = '' }: CgroupLayout
): string | undefined {
  if (!inTree.has(controller)) return `the kernel offers no ${controller} controller in ${join(unified, 'cgroup.controllers')}`
  const [major = 0, minor = 0] = kernel.split('.').map(Number)
  const [needsMajor, needsMinor] = since[name] ?? [0, 0]
  if (major < needsMajor || (major === needsMajor && minor < needsMinor))
    return `needs Linux ${needsMajor}.${needsMinor}, this is ${kernel}`
  const why = unbuilt[name]
  if (why !== undefined) return missingFile(unified, controller, how, why)
  return undefined
}

/** What a kernel without the file was built without. */
const unbuilt: Readonly<Record<string, string>> = {
  'limit.memory.swap': 'no accounting of swap (CONFIG_SWAP)',
  'limit.memory.zswap': 'no compressed swap (CONFIG_ZSWAP)',
  'limit.io.weight': 'neither its I/O cost model (CONFIG_BLK_CGROUP_IOCOST) nor bfq',
  'limit.io.latency': 'no latency targets (CONFIG_BLK_CGROUP_IOLATENCY)'
}

/** Some kernels are built without them; the cgroups at the top that have the controller show it. */
function missingFile(unified: string, controller: string, file: string, why: string): string | undefined {
  const having = readdirSync(unified, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(unified, name))
    .filter((cgroup) => existsSync(join(cgroup, controller === 'io' ? 'io.max' : 'memory.max')))
  if (having.length === 0 || having.some((cgroup) => weightFiles(file).some((name) => existsSync(join(cgroup, name)))))
    return undefined
  return `this kernel has ${why}`
}

export const weightFiles = (file: string): readonly string[] => (file === 'io.weight' ? ['io.weight', 'io.bfq.weight'] : [file])

function missingClassic({ controller, classic = controller, notClassic }: Offer, layout: CgroupLayout): string | undefined {
  if (notClassic !== undefined) return notClassic
  return layout.classic.has(classic) ? undefined : `no ${classic} controller is mounted`
}
