import { isFault } from '../base/fault.ts'
import { encodeMessage } from '../proto/codec.ts'
import { maxFrameBytes } from '../proto/frame.ts'
import type { Offer, Reason, TaskDefinition, TaskGroup, TaskState, TenantPolicy } from '../proto/gen/messages.ts'
import { taskId } from '../proto/ids.ts'
import { checkLimits } from '../proto/limits.ts'
import { addResources, checkResource, containsResources, describeResources, type Resources } from '../proto/resources.ts'
import { policyRefusal, signatureRules } from '../proto/tenant-policy.ts'

export type Verdict =
  | { readonly kind: 'fits'; readonly taskId: string; readonly resources: Resources }
  | { readonly kind: 'refused'; readonly state: TaskState; readonly reason: Reason; readonly message: string }

interface Against {
  readonly frameworkId: string
  readonly role: string
  readonly resources: Resources
  /** Whether tasks of this framework may be started again by the agent. */
  readonly restarts: boolean
  readonly policy: TenantPolicy
  readonly capabilities: Offer['capabilities']
}

/** Room in a frame for what stands around the group. */
const maxGroupBytes = maxFrameBytes - 64 * 1024

/** Whether a group may be launched out of these resources. Pure. */
export function checkGroup(group: TaskGroup, against: Against): Verdict {
  const [task] = group.tasks
  if (task === undefined || group.tasks.length > 1) {
    return refused('error', 'unsupported_request', `a group holds exactly one task for now, this one ${group.tasks.length}`)
  }
  if (group.executor !== null) return refused('error', 'unsupported_request', 'executors are not supported yet')
  if (group.frameworkId !== against.frameworkId) {
    return refused('error', 'task_invalid', `the group belongs to framework ${group.frameworkId}, not to the one that accepts`)
  }
  if (
    !against.restarts &&
    task.restart !== null &&
    task.restart.mode !== 'never' &&
    task.restart.mode !== 'unspecified_restart'
  ) {
    const hint = 'leave restart out, or set it to never, and launch the task again when its end is told'
    return refused('error', 'unsupported_request', `agents restart no tasks of framework ${group.frameworkId}: ${hint}`)
  }
  if (task.lease !== null) {
    return refused('error', 'unsupported_request', 'this master grants no leases yet: launch the task without one')
  }
  if (group.role !== against.role) {
    return refused('dropped', 'invalid_offers', `the group is of role ${group.role}, the offer of role ${against.role}`)
  }
  try {
    taskId(task.taskId)
    for (const r of task.resources) checkResource(r)
    checkLimits(task)
    const resources = addResources([], task.resources)
    if (encodeMessage('TaskGroup', group).length > maxGroupBytes) {
      return refused('error', 'task_invalid', `the task's definition is over the limit of ${maxGroupBytes} bytes`)
    }
    if (!containsResources(against.resources, resources)) {
      const [asked, offered] = [describeResources(resources), describeResources(against.resources)]
      return refused('dropped', 'invalid_offers', `the task asks for ${asked}, the offer holds ${offered}`)
    }
    const outside = outsidePolicy(against, group.role, task)
    if (outside !== undefined) return refused('error', 'policy_refused', outside)
    return { kind: 'fits', taskId: task.taskId, resources }
  } catch (e) {
    if (!isFault(e)) throw e
    return refused('error', 'task_invalid', e.message)
  }
}

/** An agent of an earlier version would run an image without a look at its signatures. */
function outsidePolicy({ policy, capabilities }: Against, role: string, task: TaskDefinition): string | undefined {
  const { image } = task
  const refusal = policyRefusal(policy, role, task)
  if (refusal !== undefined) return refusal
  if (signatureRules(policy, image).length === 0) return undefined
  if (capabilities.some(({ name, present }) => name === 'image.signatures' && present)) return undefined
  return `the policy of tenant ${policy.role} asks for signed images, and the node’s agent knows nothing of signatures: upgrade it`
}

const refused = (state: TaskState, reason: Reason, message: string): Verdict => ({ kind: 'refused', state, reason, message })
