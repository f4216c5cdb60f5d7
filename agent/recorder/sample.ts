import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CgroupLayout, unifiedDirectory } from '../../isolators/cgroup2/layout.ts'

export type Sample = Readonly<Record<string, number>>

/** Pressure of the whole node, in percent of the last 10 s in which something waited; empty where the kernel keeps none. */
export function nodeSample(): Sample {
  const found: Record<string, number> = {}
  for (const what of ['cpu', 'memory', 'io']) {
    const some = Number(/^some avg10=([\d.]+)/m.exec(read(`/proc/pressure/${what}`))?.[1] ?? Number.NaN)
    if (Number.isFinite(some)) found[`${what}Pressure`] = Math.round(some)
  }
  return found
}

/** Counters of one container that only grow: limits that were hit, time it was held back, bytes read and written. */
export function containerSample(layout: CgroupLayout, path: string): Sample {
  const own = unifiedDirectory(layout, path) ?? ''
  const of = (controller: string, classicFile: string, unifiedFile: string): string => {
    const classic = layout.classic.get(controller)
    return read(classic === undefined ? join(own, unifiedFile) : join(classic, path, classicFile))
  }
  const memory = of('memory', 'memory.oom_control', 'memory.events')
  const cpu = of('cpu', 'cpu.stat', 'cpu.stat')
  const io = of('blkio', 'blkio.throttle.io_service_bytes', 'io.stat')
  const found: Record<string, number> = {}
  const take = (name: string, value: number): void => {
    if (Number.isFinite(value) && value > 0) found[name] = value
  }
  take('oomKills', number(memory, /^oom_kill (\d+)$/m))
  take('memoryMax', number(memory, /^max (\d+)$/m))
  take('memoryFailures', Number(layout.classic.has('memory') ? of('memory', 'memory.failcnt', '') : Number.NaN))
  take('throttled', number(cpu, /^nr_throttled (\d+)$/m))
  take('pidsMax', number(of('pids', 'pids.events', 'pids.events'), /^max (\d+)$/m))
  take(
    'ioBytes',
    [...io.matchAll(/(?: (?:Read|Write) | [rw]bytes=)(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0)
  )
  return found
}

const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? Number.NaN)

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // a controller that is not there, or a container that has just gone
  }
}
