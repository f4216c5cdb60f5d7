import type { Answer, AssignTask, EndTask, ForgetTask } from '../../proto/gen/messages.ts'
import { isTerminal, type TaskState, taskStates } from '../../proto/task-state.ts'
import { accepted, isId, refused } from './answer.ts'
import { assignmentKey, type ClusterLimits, type ClusterState } from './cluster.ts'
import { holdsLease, overLease } from './leases.ts'

/** A later attempt may take the place of one that still stands; the same or an earlier one never. */
export function assignTask(state: ClusterState, command: AssignTask, index: number, limits: ClusterLimits): Answer {
  const { frameworkId, taskId, attempt } = command
  if (!isId(frameworkId) || !isId(taskId)) return refused('invalid', 'framework and task ids are 1 to 255 bytes without a slash')
  if (attempt < 1) return refused('invalid', 'attempts count from 1')
  if (!state.frameworks.has(frameworkId)) return refused('not-found', `no framework ${frameworkId} is registered`)
  const agent = state.agents.get(command.agentId)
  if (agent === undefined) return refused('not-found', `no agent ${command.agentId} is registered`)
  if (agent.condition === 'agent_gone') return refused('conflict', `agent ${command.agentId} is gone`)
  const key = assignmentKey(frameworkId, taskId)
  const held = state.assignments.get(key)
  if (held !== undefined && held.assignment.attempt >= attempt) {
    const how = held.ending === null ? 'stands' : 'ended'
    return refused('conflict', `attempt ${held.assignment.attempt} of task ${taskId} ${how}: attempt ${attempt} comes too late`)
  }
  if (held !== undefined && holdsLease(held)) {
    const where = `attempt ${held.assignment.attempt} of task ${taskId} may still run on node ${held.assignment.agentId}`
    return refused('conflict', `${where}: it waits until the lease of that one is surely over`)
  }
  if (held === undefined && state.assignments.size >= limits.assignments) {
    return refused('exhausted', `the cluster holds ${limits.assignments} tasks already: forget ended ones`)
  }
  const lease = command.leaseHeld ? { epoch: 0, grantedAtMs: state.atMs, over: false, forgotten: false } : null
  state.assignments.set(key, { assignment: command, index, atMs: state.atMs, ending: null, lease })
  return accepted(index)
}

/** The first ending of an attempt stands for ever. */
export function endTask(state: ClusterState, command: EndTask, index: number): Answer {
  const { frameworkId, taskId, attempt, status } = command
  const key = assignmentKey(frameworkId, taskId)
  const held = state.assignments.get(key)
  if (held === undefined) return refused('not-found', `task ${taskId} of ${frameworkId} is not assigned`)
  if (status === null || !isEnd(status.state)) return refused('invalid', 'an ending needs a status in a final state')
  if (held.assignment.attempt !== attempt) {
    return refused('conflict', `task ${taskId} is at attempt ${held.assignment.attempt}, not ${attempt}`)
  }
  if (held.ending !== null) {
    return refused('conflict', `attempt ${attempt} of task ${taskId} has ended as ${held.ending.state} already`)
  }
  const lease = command.leaseOver ? overLease(held) : held.lease
  state.assignments.set(key, { ...held, ending: status, lease })
  return accepted(index)
}

export function forgetTask(state: ClusterState, command: ForgetTask, index: number): Answer {
  const { frameworkId, taskId } = command
  const key = assignmentKey(frameworkId, taskId)
  const held = state.assignments.get(key)
  if (held === undefined) return refused('not-found', `task ${taskId} of ${frameworkId} is not assigned`)
  if (held.ending === null)
    return refused('conflict', `task ${taskId} of ${frameworkId} has not ended: only ended tasks are forgotten`)
  if (held.lease !== null && holdsLease(held)) state.assignments.set(key, { ...held, lease: { ...held.lease, forgotten: true } })
  else state.assignments.delete(key)
  return accepted(index)
}

/** A newer build's state decodes as a number: that is no end this build knows. */
const isEnd = (state: string): boolean => taskStates.includes(state as TaskState) && isTerminal(state as TaskState)
