import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import type { Usage } from '../isolator.ts'
import { type CgroupLayout, unifiedDirectory } from './layout.ts'

/** How often the kernel's out-of-memory killer struck in the container: memory.events on v2, memory.oom_control on v1. */
export function readOomKills(layout: CgroupLayout, path: string): number {
  const memory = layout.classic.get('memory')
  const file = memory === undefined ? join(layout.unified ?? '', path, 'memory.events') : join(memory, path, 'memory.oom_control')
  try {
    return killsIn(file)
  } catch (e) {
    return errnoOf(e) === 'ENOENT' ? 0 : lastLook(file)
  }
}

const killsIn = (file: string): number => Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0)

/** The cause of a death stands nowhere else. */
function lastLook(file: string): number {
  try {
    return killsIn(file)
  } catch {
    return 0 // gone with the container
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
  const statFile = memory === undefined ? join(own, 'memory.stat') : join(memory, path, 'memory.stat')
  const cache = /^(?:file|total_cache) (\d+)$/m.exec(await readFile(statFile, 'utf8').catch(() => ''))?.[1] // as above
  return {
    ...(cache === undefined ? {} : { cacheBytes: Number(cache) }),
    ...(pids === undefined ? {} : { pids }),
    ...(Number.isFinite(cpuUs) ? { cpuUs: Math.round(cpuUs) } : {}),
    ...(memoryBytes === undefined ? {} : { memoryBytes })
  }
}
