import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join, normalize } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { within } from '../../base/clock.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { isPopulated } from '../../isolators/cgroup2/tree.ts'
import { readUsage } from '../../isolators/cgroup2/usage.ts'
import { measureFiles } from '../../isolators/disk.ts'
import type { Usage } from '../../isolators/isolator.ts'
import type { TaskRow, TaskStatus } from '../../proto/gen/messages.ts'
import { readMemory, readPressure } from './gather/kernel-facts.ts'
import { type NodeRoots, readIfThere } from './gather/roots.ts'

/** One task as `hearth node top` needs to know it, whoever tells of it. */
export interface TopTask {
  readonly frameworkId: string
  readonly taskId: string
  readonly name: string
  readonly containerId: string
  readonly state: string
  /** How often the task was started again in place. */
  readonly restarts: number
  readonly sandboxDir: string
  readonly cgroupPath: string
}

export interface TaskUsage extends Omit<TopTask, 'sandboxDir' | 'cgroupPath'> {
  /** Of one processor, over the window; null where the kernel does not count it. */
  readonly cpuPercent: number | null
  readonly memoryBytes: number | null
  readonly pids: number | null
  /** Null where there was no time to count all of its files. */
  readonly diskBytes: number | null
}

export interface NodeUsage {
  readonly cpus: number
  /** Of all processors together, over the window. */
  readonly cpuPercent: number | null
  readonly memoryBytes: number | null
  readonly memoryTotalBytes: number | null
  readonly load1: number | null
  /** Share of the last 10 s in which something waited, in percent. */
  readonly pressure: Readonly<Record<'cpu' | 'memory' | 'io', number | null>>
}

export interface Top {
  readonly node: NodeUsage
  /** The busiest first. */
  readonly tasks: readonly TaskUsage[]
}

export interface TopParts {
  readonly roots: NodeRoots
  readonly layout: CgroupLayout
  readonly clock: Clock
}

const windowMs = 500
const diskPatienceMs = 2_000

/** Looks twice, half a second apart, for the shares of processors; counts files for at most two seconds. */
export async function readTop(parts: TopParts, tasks: readonly TopTask[], signal: AbortSignal): Promise<Top> {
  const { roots, clock } = parts
  const [before, sinceMs] = [await look(parts, tasks), clock.monotonicMs()]
  const disks = measureAll(tasks, within(diskPatienceMs, signal))
  await clock.sleep(windowMs, signal)
  const [after, elapsedMs] = [await look(parts, tasks), clock.monotonicMs() - sinceMs]
  const [memory, pressure, loadavg, diskBytes] = [
    await readMemory(roots),
    await readPressure(roots),
    await readIfThere(join(roots.proc, 'loadavg')),
    await disks
  ]
  const load1 = Number.parseFloat(loadavg ?? '')
  const rows = tasks.map((task, i): TaskUsage => {
    const { sandboxDir: _, cgroupPath: _path, ...facts } = task
    const now = after.usage[i]
    return {
      ...facts,
      cpuPercent: rate(before.usage[i]?.cpuUs, now?.cpuUs, elapsedMs),
      memoryBytes: now?.memoryBytes ?? null,
      pids: now?.pids ?? null,
      diskBytes: diskBytes.get(task.containerId) ?? null
    }
  })
  return {
    node: {
      cpus: after.cpus,
      cpuPercent: busyPercent(before, after),
      memoryBytes: memory === undefined ? null : memory.totalBytes - memory.availableBytes,
      memoryTotalBytes: memory?.totalBytes ?? null,
      load1: Number.isFinite(load1) ? load1 : null,
      pressure: {
        cpu: pressure.cpu?.some.avg10 ?? null,
        memory: pressure.memory?.some.avg10 ?? null,
        io: pressure.io?.some.avg10 ?? null
      }
    },
    tasks: rows.sort((a, b) => (b.cpuPercent ?? 0) - (a.cpuPercent ?? 0) || (b.memoryBytes ?? 0) - (a.memoryBytes ?? 0))
  }
}

interface Look {
  readonly usage: readonly Usage[]
  readonly cpus: number
  readonly busyTicks: number
  readonly allTicks: number
}

async function look(parts: TopParts, tasks: readonly TopTask[]): Promise<Look> {
  const usage = await Promise.all(tasks.map((task) => readUsage(parts.layout, task.cgroupPath)))
  return { usage, ...parseStat((await readIfThere(join(parts.roots.proc, 'stat'))) ?? '') }
}

/** proc(5), /proc/stat: user nice system idle iowait irq softirq steal; guests are in user already. */
function parseStat(text: string): Omit<Look, 'usage'> {
  const ticks = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '').split(' ').map(Number).slice(0, 8)
  const all = ticks.reduce((sum, n) => sum + n, 0)
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0)
  return { cpus: (text.match(/^cpu\d+ /gm) ?? []).length, busyTicks: all - idle, allTicks: all }
}

function busyPercent(before: Look, after: Look): number | null {
  const all = after.allTicks - before.allTicks
  return all > 0 ? rounded(((after.busyTicks - before.busyTicks) * 100) / all) : null
}

const rate = (fromUs: number | undefined, toUs: number | undefined, elapsedMs: number): number | null =>
  fromUs === undefined || toUs === undefined || elapsedMs <= 0 ? null : rounded(Math.max(0, (toUs - fromUs) / (elapsedMs * 10)))

const rounded = (n: number): number => Math.round(n * 10) / 10

/** One after the other: what was counted when the time is over counts. */
async function measureAll(tasks: readonly TopTask[], signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>()
  for (const { containerId, sandboxDir } of tasks) {
    if (signal.aborted) break
    const bytes = await measureFiles(sandboxDir, signal).catch(() => undefined) // out of time
    if (bytes !== undefined) found.set(containerId, bytes)
  }
  return found
}

/** The tasks of a node whose agent is away, by their bundles: what has one is running, or ended while nobody watched. */
export async function tasksFromFiles(
  layout: CgroupLayout,
  config: { readonly runDir: string; readonly stateDir: string }
): Promise<readonly TopTask[]> {
  const ids = await readdir(join(config.runDir, 'c')).catch(() => []) // no container was ever made here
  const tasks = await Promise.all(
    ids.map(async (containerId): Promise<readonly TopTask[]> => {
      const text = await readFile(join(config.runDir, 'c', containerId, 'config.json'), 'utf8').catch(() => undefined)
      const bundle = text === undefined ? undefined : parseBundle(text)
      if (bundle === undefined) return []
      const { notes, cgroupPath } = bundle
      const attempt = Number(notes['org.hearth.attempt'])
      const alive = await isPopulated(join(layout.unified ?? '', cgroupPath)).catch(() => undefined)
      return [
        {
          frameworkId: notes['org.hearth.framework'] ?? '',
          taskId: notes['org.hearth.task'] ?? '',
          name: '',
          containerId,
          state: alive === true ? 'running' : 'ended',
          restarts: Number.isSafeInteger(attempt) && attempt > 0 ? attempt - 1 : 0,
          sandboxDir: join(config.stateDir, 'agent/sandboxes', containerId),
          cgroupPath
        }
      ]
    })
  )
  return tasks.flat()
}

interface Bundle {
  readonly notes: Readonly<Record<string, string>>
  readonly cgroupPath: string
}

/** Undefined for a file that was not written by us; its values are shown, never trusted. */
function parseBundle(text: string): Bundle | undefined {
  try {
    const { annotations, linux } = JSON.parse(text) as {
      readonly annotations?: Readonly<Record<string, unknown>>
      readonly linux?: { readonly cgroupsPath?: unknown }
    }
    const notes = Object.fromEntries(Object.entries(annotations ?? {}).map(([name, value]) => [name, String(value)]))
    // On v2 hosts the runtime has a child of our cgroup.
    const path = normalize(join('/', String(linux?.cgroupsPath ?? '')))
    return { notes, cgroupPath: basename(path) === 'task' ? dirname(path) : path }
  } catch {
    // A bundle that is half written has no task to show yet.
    return undefined
  }
}

interface Runner extends Pick<TopTask, 'frameworkId' | 'taskId' | 'containerId' | 'sandboxDir'> {
  readonly row: Pick<TaskRow, 'attempt' | 'group'>
  readonly removed: AbortSignal
  readonly latest: () => Pick<TaskStatus, 'state'> | null
}

/** Those that still use something of the node. */
export const topTasks = (runners: readonly Runner[], cgroupParent: string): readonly TopTask[] =>
  runners
    .filter((runner) => !runner.removed.aborted)
    .map((runner) => ({
      frameworkId: runner.frameworkId,
      taskId: runner.taskId,
      name: runner.row.group?.tasks[0]?.name ?? '',
      containerId: runner.containerId,
      state: runner.latest()?.state ?? 'staging',
      restarts: Math.max(0, runner.row.attempt - 1),
      sandboxDir: runner.sandboxDir,
      cgroupPath: join('/', cgroupParent, runner.containerId)
    }))
