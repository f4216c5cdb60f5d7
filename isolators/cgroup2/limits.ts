import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostCapability, Isolator, Usage } from '../isolator.ts'
import { type CgroupLayout, cgroupDirectories, unifiedDirectory } from './layout.ts'
import { planCgroup, planResources } from './plan.ts'
import { makeCgroup, removeCgroups } from './tree.ts'

/** The runtime's own cgroup below ours, on v2 hosts. */
const runtimeChild = 'task'

/**
 * CPU, memory and pids. On v2 the limits are written into a cgroup of ours and the runtime gets a child of it; on v1 and hybrid
 * hosts the runtime writes them into the classic hierarchies (runc refuses `unified` there).
 */
export function cgroupLimits(layout: CgroupLayout, parent: string): Isolator {
  const pathOf = (containerId: string): string => join('/', parent, containerId)
  return {
    name: 'cgroup',
    capabilities: async () => limitCapabilities(layout),

    async prepare(request) {
      const path = pathOf(request.containerId)
      await request.journal({ kind: 'cgroup', id: path })
      if (layout.mode !== 'v2' || layout.unified === undefined) {
        return { cgroupsPath: path, resources: planResources(request.limits) }
      }
      await makeCgroup(layout.unified, path, planCgroup(request.limits))
      return { cgroupsPath: join(path, runtimeChild) }
    },

    usage: (request) => readUsage(layout, pathOf(request.containerId)),

    async cleanup(request) {
      const own = cgroupDirectories(layout, pathOf(request.containerId))
      await removeCgroups(layout.mode === 'v2' ? own.flatMap((d) => [join(d, runtimeChild), d]) : own)
    }
  }
}

function limitCapabilities(layout: CgroupLayout): readonly HostCapability[] {
  const how = layout.mode === 'v2' ? 'cgroup v2' : `cgroup v1 (${layout.mode}), set by the runtime`
  const has = (controller: string): boolean => layout.mode === 'v2' || layout.classic.has(controller)
  return [
    { name: 'cgroup.mode', present: true, detail: layout.mode },
    ...['cpu', 'memory', 'pids'].map((controller) => ({
      name: `limit.${controller}`,
      present: has(controller),
      detail: has(controller) ? how : `no ${controller} controller is mounted`
    }))
  ]
}

/** How often the kernel's out-of-memory killer struck in the container: memory.events on v2, memory.oom_control on v1. */
export function readOomKills(layout: CgroupLayout, path: string): number {
  const memory = layout.classic.get('memory')
  const file = memory === undefined ? join(layout.unified ?? '', path, 'memory.events') : join(memory, path, 'memory.oom_control')
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0 // gone with the container: nothing to tell
  }
}

/** What the container with this cgroup uses, whoever made it; figures that are not there are left out. */
export async function readUsage(layout: CgroupLayout, path: string): Promise<Usage> {
  const number = async (file: string): Promise<number | undefined> => {
    const text = await readFile(file, 'utf8').catch(() => '') // a controller that is not there has no figure
    return text === '' ? undefined : Number(text.trim())
  }
  const memory = layout.classic.get('memory')
  const cpuacct = layout.classic.get('cpuacct')
  const pidsTree = layout.classic.get('pids')
  const own = unifiedDirectory(layout, path) ?? ''
  const memoryBytes = await number(
    memory === undefined ? join(own, 'memory.current') : join(memory, path, 'memory.usage_in_bytes')
  )
  const cpuUs =
    cpuacct === undefined
      ? Number(/^usage_usec (\d+)$/m.exec(await readFile(join(own, 'cpu.stat'), 'utf8').catch(() => ''))?.[1] ?? Number.NaN) // as above
      : ((await number(join(cpuacct, path, 'cpuacct.usage'))) ?? Number.NaN) / 1000
  const pids = await number(join(pidsTree === undefined ? own : join(pidsTree, path), 'pids.current'))
  return {
    ...(pids === undefined ? {} : { pids }),
    ...(Number.isFinite(cpuUs) ? { cpuUs: Math.round(cpuUs) } : {}),
    ...(memoryBytes === undefined ? {} : { memoryBytes })
  }
}
