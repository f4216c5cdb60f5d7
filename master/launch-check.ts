import { isFault } from '../base/fault.ts'
import { encodeMessage } from '../proto/codec.ts'
import { maxFrameBytes } from '../proto/frame.ts'
import type { Offer, Reason, TaskDefinition, TaskGroup, TaskState, TenantPolicy } from '../proto/gen/messages.ts'
import { taskId } from '../proto/ids.ts'
import { unfitLength } from '../proto/lease-length.ts'
import { checkLimits } from '../proto/limits.ts'
import { checkPod, isPod, podCapability } from '../proto/pods.ts'
import { addResources, checkResource, containsResources, describeResources, type Resources } from '../proto/resources.ts'
import { policyRefusal, signatureRules } from '../proto/tenant-policy.ts'

export type Verdict =
  | { readonly kind: 'fits'; readonly tasks: readonly TaskShare[]; readonly resources: Resources }
  | { readonly kind: 'refused'; readonly state: TaskState; readonly reason: Reason; readonly message: string }

/** What one task of a group takes of what the whole group does. */
export interface TaskShare {
  readonly taskId: string
  readonly resources: Resources
}

interface Against {
  readonly frameworkId: string
  readonly role: string
  readonly resources: Resources
  /** Whether tasks of this framework may be started again by the agent. */
  readonly restarts: boolean
  /** Whether every master keeps to leases. */
  readonly leases: boolean
  readonly policy: TenantPolicy
  readonly capabilities: Offer['capabilities']
}

export const noLeasesYet = 'a master of an earlier version would grant no leases: upgrade every master first'

/** Room in a frame for what stands around the group. */
const maxGroupBytes = maxFrameBytes - 64 * 1024

/** Whether a group may be launched out of these resources, all of it or nothing. Pure. */
export function checkGroup(group: TaskGroup, against: Against): Verdict {
  if (group.tasks.length === 0) return refused('error', 'unsupported_request', 'a group holds at least one task')
  if (group.executor !== null) return refused('error', 'unsupported_request', 'executors are not supported yet')
  if (group.frameworkId !== against.frameworkId) {
    return refused('error', 'task_invalid', `the group belongs to framework ${group.frameworkId}, not to the one that accepts`)
  }
  for (const task of group.tasks) {
    const beyond = beyondUs(task, group, against)
    if (beyond !== undefined) return refused('error', 'unsupported_request', beyond)
  }
  if (group.role !== against.role) {
    return refused('dropped', 'invalid_offers', `the group is of role ${group.role}, the offer of role ${against.role}`)
  }
  try {
    return checkTasks(group, against)
  } catch (e) {
    if (!isFault(e)) throw e
    return refused('error', e.code === 'unsupported' ? 'unsupported_request' : 'task_invalid', e.message)
  }
}

function beyondUs({ restart, lease }: TaskDefinition, { frameworkId, tasks }: TaskGroup, against: Against): string | undefined {
  if (!against.restarts && restart !== null && restart.mode !== 'never' && restart.mode !== 'unspecified_restart') {
    const hint = 'leave restart out, or set it to never, and launch the task again when its end is told'
    return `agents restart no tasks of framework ${frameworkId}: ${hint}`
  }
  if (lease !== null && !against.leases) return noLeasesYet
  if (lease !== null) {
    const unfit = unfitLength(lease.lengthMs)
    if (unfit !== undefined) return unfit
  }
  const knowsPods = against.capabilities.some(({ name, present }) => name === podCapability && present)
  return tasks.length === 1 || knowsPods ? undefined : 'the node’s agent runs groups of one task alone: upgrade it'
}

/** Throws `Fault('invalid')` or `unsupported`. */
function checkTasks(group: TaskGroup, against: Against): Verdict {
  if (isPod(group)) checkPod(group)
  const tasks = group.tasks.map((task): TaskShare => {
    taskId(task.taskId)
    for (const r of task.resources) checkResource(r)
    checkLimits(task)
    return { taskId: task.taskId, resources: addResources([], task.resources) }
  })
  const resources = tasks.reduce<Resources>((sum, task) => addResources(sum, task.resources), [])
  if (encodeMessage('TaskGroup', group).length > maxGroupBytes) {
    return refused('error', 'task_invalid', `the task's definition is over the limit of ${maxGroupBytes} bytes`)
  }
  if (!containsResources(against.resources, resources)) {
    const [asked, offered] = [describeResources(resources), describeResources(against.resources)]
    return refused(
      'dropped',
      'invalid_offers',
      `the ${isPod(group) ? 'pod' : 'task'} asks for ${asked}, the offer holds ${offered}`
    )
  }
  for (const task of group.tasks) {
    const outside = outsidePolicy(against, group.role, task)
    if (outside !== undefined) return refused('error', 'policy_refused', outside)
  }
  return { kind: 'fits', tasks, resources }
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
