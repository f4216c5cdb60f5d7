import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import type { StatsSource } from '../local-api/stats-routes.ts'
import type { LimitedTask } from '../local-api/task-routes.ts'
import type { Ledger } from '../ports.ts'
import { Resizes } from '../resizes.ts'
import { bareRequest, type RequestConfig } from '../task-request.ts'
import { type StatsTask, TaskStatistics } from './task-stats.ts'

interface Parts {
  readonly ledger: Ledger
  readonly log: Log
  readonly layout: CgroupLayout
  readonly clock: Clock
  readonly isolators: readonly Isolator[]
  readonly runtime: Runtime
  /** Those that still use something of the node. */
  readonly tasks: () => readonly StatsTask[]
}

/** What the local API offers of the limits of tasks: to change them, and to see what is used of them. */
export const composeLimiting = (parts: Parts, config: RequestConfig) => ({
  resizes: new Resizes(parts, config),
  stats: statsOf(parts, config)
})

function statsOf(parts: Parts, config: RequestConfig): StatsSource {
  const statistics = new TaskStatistics(parts)
  return {
    all(signal) {
      const tasks = parts.tasks()
      statistics.forgetOthers(new Set(tasks.map(({ containerId }) => containerId)))
      return statistics.sample(tasks, signal)
    },
    of({ containerId, row }: LimitedTask, signal) {
      const task = parts.tasks().find((t) => t.containerId === containerId)
      const facts = task ?? gone(containerId, row)
      return statistics.details(facts, bareRequest(config, containerId, row.group?.tasks[0]), signal)
    }
  }
}

/** Of one that uses nothing any more every figure is null. */
const gone = (containerId: string, { group }: LimitedTask['row']): StatsTask => ({
  frameworkId: group?.frameworkId ?? '',
  taskId: group?.tasks[0]?.taskId ?? '',
  name: group?.tasks[0]?.name ?? '',
  containerId,
  state: 'ended',
  cgroupPath: containerId
})
