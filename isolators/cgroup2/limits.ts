import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Isolator, Limits } from '../isolator.ts'
import { Cpusets } from './cpusets.ts'
import { type Disk, diskOf } from './disks.ts'
import { type CgroupLayout, cgroupDirectories } from './layout.ts'
import { checkHardware } from './numa.ts'
import { cgroupCapabilities } from './offers.ts'
import { type PlanFacts, planCgroup, planClassic, planResources, planWhole } from './plan.ts'
import { makeCgroup, makeClassicCgroup, removeCgroups, takeBack, writeLimits } from './tree.ts'
import { readUsage } from './usage.ts'

/** The runtime's own cgroup below ours, on v2 hosts. */
const runtimeChild = 'task'

/**
 * CPU, processors, memory, pids, I/O and huge pages. On v2 the limits are written into a cgroup of ours and the runtime gets a child of
 * it; on v1 and hybrid hosts the runtime writes them into the classic hierarchies (runc refuses `unified` there).
 */
export function cgroupLimits(layout: CgroupLayout, parent: string): Isolator {
  const pathOf = (containerId: string): string => join('/', parent, containerId)
  const unified = layout.mode === 'v2' ? layout.unified : undefined
  const cpusets = unified === undefined ? undefined : new Cpusets(unified, parent)
  return {
    name: 'cgroup',
    capabilities: async () => cgroupCapabilities(layout),

    async prepare({ containerId, limits, journal }) {
      const path = pathOf(containerId)
      checkHardware(limits, unified ?? '')
      const facts = factsOf(layout, limits)
      await journal({ kind: 'cgroup', id: path })
      if (unified === undefined) return { cgroupsPath: path, resources: planResources(limits, facts) }
      await makeCgroup(unified, path, planCgroup(limits, facts))
      await cpusets?.put(containerId, limits)
      return { cgroupsPath: join(path, runtimeChild) }
    },

    async update({ containerId, limits }) {
      const path = pathOf(containerId)
      checkHardware(limits, unified ?? '')
      const facts = factsOf(layout, limits)
      try {
        if (unified !== undefined) {
          // What lies above can be given up in peace, before the limit itself makes the kernel look for a victim.
          await takeBack(join(unified, path), limits.memoryBytes)
          await writeLimits(unified, path, planWhole(limits, facts))
          await cpusets?.put(containerId, limits)
        } else await updateClassic(layout, path, limits)
      } catch (e) {
        throw notTaken(e)
      }
    },

    /** What the ledger says holds, whatever an agent that died in the middle of a change has written. */
    async recover({ containerId, limits }) {
      cpusets?.adopt(containerId, limits)
      if (unified === undefined) return
      const path = pathOf(containerId)
      if (existsSync(join(unified, path))) await writeLimits(unified, path, planWhole(limits, factsOf(layout, limits)))
    },

    usage: (request) => readUsage(layout, pathOf(request.containerId)),

    async cleanup({ containerId }) {
      const own = cgroupDirectories(layout, pathOf(containerId))
      await removeCgroups(layout.mode === 'v2' ? own.flatMap((d) => [join(d, runtimeChild), d]) : own)
      await cpusets?.drop(containerId)
    }
  }
}

function factsOf({ unified = '' }: CgroupLayout, { io = [] }: Limits): PlanFacts {
  const disks = new Map<string, Disk>(io.map(({ path }) => [path, diskOf(path)]))
  return { disks, has: (file) => !existsSync(join(unified, file.replace('io.', 'io.bfq.'))) }
}

async function updateClassic(layout: CgroupLayout, path: string, limits: Limits): Promise<void> {
  for (const { controller, writes } of planClassic(limits, 'whole')) {
    const mount = layout.classic.get(controller)
    if (mount !== undefined) await makeClassicCgroup(join(mount, path), writes)
  }
}

/** EBUSY of v1 and of swap: more is in use than is to be allowed. */
function notTaken(e: unknown): unknown {
  const errno = errnoOf(e)
  if (errno === undefined) return e
  if (errno === 'EBUSY')
    return new Fault('conflict', 'the task uses more than that, and the kernel could not take it away', {}, e)
  if (errno === 'ENOENT') return new Fault('conflict', 'the task is just ending: its cgroup is gone', {}, e)
  return new Fault('unavailable', `the kernel refuses the limits: ${e instanceof Error ? e.message : errno}`, { errno }, e)
}
