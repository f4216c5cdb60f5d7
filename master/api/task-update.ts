import { completeMessage } from '../../proto/codec.ts'
import type { Resize, TaskDefinition, TaskLimits } from '../../proto/gen/messages.ts'
import { asked, type LimitsRequest, limitsOf } from './task-request.ts'

/** The body of `POST /v1/tasks/:id/update`, as its schema lets it through. */
export interface UpdateRequest {
  readonly milliCpu?: number
  readonly memoryBytes?: number
  readonly limits?: LimitsRequest
  readonly force?: boolean
}

/** What the task is to have: what was asked for, over what it has. Pure. */
export function resizeOf({ resources, limits }: TaskDefinition, update: UpdateRequest): Resize {
  const named = asked(update)
  const kept = resources.filter(({ name }) => !named.some((r) => r.name === name))
  return {
    resources: [...named, ...kept],
    limits: update.limits === undefined ? limits : merged(limits, update.limits),
    force: update.force ?? false
  }
}

function merged(before: TaskLimits | null, request: LimitsRequest): TaskLimits {
  const { oomPolicy, ...others } = limitsOf(request) ?? {}
  const policy = request.oomPolicy === undefined ? {} : { oomPolicy }
  return completeMessage('TaskLimits', { ...before, ...others, ...policy })
}
