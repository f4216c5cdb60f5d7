import { setImmediate as turn } from 'node:timers/promises'
import { type Clock, within } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import { type Counters, KeptCounters } from '../../isolators/cgroup2/kept-counters.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Isolator, IsolatorRequest, Limits, Usage } from '../../isolators/isolator.ts'

/** A task as its statistics need to know it. */
export interface StatsTask {
  readonly frameworkId: string
  readonly taskId: string
  readonly name: string
  readonly containerId: string
  readonly state: string
  readonly cgroupPath: string
}

export interface TaskStats extends Omit<StatsTask, 'cgroupPath'>, Counters {
  /** Of one processor, since the sample before; null in the first one. */
  readonly cpuPercent: number | null
}

/** With what only one task at a time is asked for. */
export interface TaskDetails extends TaskStats {
  readonly limits: Limits
  /** By isolator, what each counts. */
  readonly usage: Readonly<Record<string, Usage>>
}

interface Parts {
  readonly layout: CgroupLayout
  readonly clock: Clock
  readonly isolators: readonly Isolator[]
}

interface Kept {
  readonly counters: KeptCounters
  cpuUs: number | null
  atMs: number
}

/** A synchronous stretch has at most this many tasks. */
const stretch = 50
const firstWindowMs = 200
const usagePatienceMs = 2_000
/** After which nobody looks any more. */
const idleMs = 60_000
/** Descriptors are kept for so many containers; those beyond open theirs anew each time. */
const mostKept = 1_000

/** Usage and pressure of tasks, sample by sample, over descriptors that stay open while somebody looks. */
export class TaskStatistics {
  readonly #parts: Parts
  readonly #kept = new Map<string, Kept>()
  #idle: NodeJS.Timeout | undefined

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** One sample of these tasks; where one has none before, two, a fifth of a second apart. */
  async sample(tasks: readonly StatsTask[], signal: AbortSignal): Promise<readonly TaskStats[]> {
    const isFirst = tasks.some(({ containerId }) => !this.#kept.has(containerId))
    if (isFirst) {
      await this.#look(tasks)
      await this.#parts.clock.sleep(firstWindowMs, signal)
    }
    const stats = await this.#look(tasks)
    this.#restartIdle()
    return stats
  }

  async details(task: StatsTask, request: IsolatorRequest, signal: AbortSignal): Promise<TaskDetails> {
    const [stats, usage] = await Promise.all([this.sample([task], signal), this.#usage(request, within(usagePatienceMs, signal))])
    return { ...(stats[0] as TaskStats), limits: request.limits, usage }
  }

  /** Closes what is open of containers that are gone. */
  forgetOthers(containerIds: ReadonlySet<string>): void {
    for (const [containerId, { counters }] of this.#kept) {
      if (containerIds.has(containerId)) continue
      counters.close()
      this.#kept.delete(containerId)
    }
  }

  async #look(tasks: readonly StatsTask[]): Promise<readonly TaskStats[]> {
    const stats: TaskStats[] = []
    for (const task of tasks) {
      stats.push(this.#read(task))
      if (stats.length % stretch === 0) await turn()
    }
    return stats
  }

  #read({ cgroupPath, frameworkId, taskId, name, containerId, state }: StatsTask): TaskStats {
    const { layout, clock } = this.#parts
    const known = this.#kept.get(containerId)
    const counters = known?.counters ?? new KeptCounters(layout, cgroupPath)
    const atMs = clock.monotonicMs()
    const seen = counters.read()
    const cpuPercent =
      known === undefined || known.cpuUs === null || seen.cpuUs === null || atMs <= known.atMs
        ? null
        : Math.max(0, Math.round((seen.cpuUs - known.cpuUs) / (atMs - known.atMs)) / 10)
    if (known === undefined && this.#kept.size >= mostKept) counters.close()
    else this.#kept.set(containerId, { counters, cpuUs: seen.cpuUs, atMs })
    return { frameworkId, taskId, name, containerId, state, ...seen, cpuPercent }
  }

  /** What an isolator cannot tell in time is left out. */
  async #usage(request: IsolatorRequest, signal: AbortSignal): Promise<TaskDetails['usage']> {
    const found: Record<string, Usage> = {}
    for (const isolator of this.#parts.isolators) {
      try {
        const usage = await isolator.usage?.(request, signal)
        if (usage !== undefined) found[isolator.name] = usage
      } catch (e) {
        if (!isFault(e) && !signal.aborted) throw e
      }
    }
    return found
  }

  #restartIdle(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => this.forgetOthers(new Set()), idleMs)
    this.#idle.unref()
  }
}
