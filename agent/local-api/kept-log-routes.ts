import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { frameworkId, taskId } from '../../proto/ids.ts'
import type { KeptLog } from '../logs/kept-log.ts'
import type { LocalResponse } from '../ports.ts'
import { jsonResponse } from './responses.ts'
import type { RouteCall } from './router.ts'
import { count, type LocalTask, type LocalTasks, taskOf } from './task-routes.ts'

/** agent/logs/kept-logs.ts */
export interface KeptLogSource {
  find(frameworkId: string, taskId: string, attempt?: number): Promise<KeptLog | undefined>
  folderOf(log: Pick<KeptLog, 'containerId'>): string
  whyGone(frameworkId: string, taskId: string): Promise<string | undefined>
}

/**
 * `{has, removedAtMs, gone}`: whether this node has the log of that task, since when without the task (null while the task is
 * still there: whoever removed it may be quicker than its node), or a sentence on what became of it.
 */
export const keptLogRoutes = (
  tasks: LocalTasks,
  kept: KeptLogSource
): readonly (readonly ['GET', string, (call: RouteCall) => Promise<LocalResponse>])[] => [
  [
    'GET',
    '/v1/kept-logs/:framework/:task',
    async (call) => {
      const { framework, id, attempt } = askedOf(call)
      if (tasks.find(framework, id) !== undefined) return jsonResponse(200, { has: true, removedAtMs: null, gone: null })
      const found = await kept.find(framework, id, attempt)
      const gone = (await kept.whyGone(framework, id)) ?? null
      return jsonResponse(200, { has: found !== undefined, removedAtMs: found?.removedAtMs ?? null, gone })
    }
  ]
]

/** A task, or what is kept of one that was removed. One that is there again under the same id hides the older one. */
export async function loggedTask(
  { tasks, kept }: { readonly tasks: LocalTasks; readonly kept?: KeptLogSource },
  call: RouteCall
): Promise<LocalTask> {
  const { framework, id, attempt } = askedOf(call)
  if (kept === undefined || tasks.find(framework, id) !== undefined) return taskOf(tasks, call)
  const log = await kept.find(framework, id, attempt)
  if (log !== undefined) return asTask(log, kept.folderOf(log))
  const gone = await kept.whyGone(framework, id)
  if (gone !== undefined) throw new Fault('not-found', gone, { frameworkId: framework, taskId: id })
  return taskOf(tasks, call)
}

function askedOf({ params, query }: RouteCall) {
  return {
    framework: frameworkId(params['framework'] ?? ''),
    id: taskId(params['task'] ?? ''),
    attempt: count(query, 'attempt')
  }
}

/** It has ended long ago, and of how it ended nothing is known here any more. */
const asTask = ({ frameworkId, taskId, containerId, attempt }: KeptLog, folder: string): LocalTask => ({
  ...{ frameworkId, taskId, containerId, attempt },
  state: 'removed',
  logPath: join(folder, 'log'),
  sandboxDir: folder,
  bundleDir: folder,
  terminal: false,
  openStdin: false,
  latest: () => null,
  launched: AbortSignal.abort(),
  ended: AbortSignal.abort()
})
