import type { LocalResponse } from '../ports.ts'
import type { TaskDetails, TaskStats } from '../stats/task-stats.ts'
import { jsonResponse } from './responses.ts'
import type { RouteCall } from './router.ts'
import { type LimitedTask, type LocalTasks, taskOf } from './task-routes.ts'

export interface StatsSource {
  /** Of all tasks that use something of the node. */
  all(signal: AbortSignal): Promise<readonly TaskStats[]>
  of(task: LimitedTask, signal: AbortSignal): Promise<TaskDetails>
}

export function statsRoutes(
  tasks: LocalTasks,
  stats: StatsSource
): readonly (readonly [string, string, (call: RouteCall) => Promise<LocalResponse>])[] {
  return [
    ['GET', '/v1/stats', async (call) => jsonResponse(200, { tasks: await stats.all(call.signal) })],
    [
      'GET',
      '/v1/tasks/:framework/:task/stats',
      async (call) => jsonResponse(200, await stats.of(taskOf(tasks, call), call.signal))
    ]
  ]
}
