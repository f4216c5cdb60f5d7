import type { Answer, EndLease, GrantLease, LeaseRow } from '../../proto/gen/messages.ts'
import { accepted, refused } from './answer.ts'
import { type AssignmentRow, assignmentKey, type ClusterState } from './cluster.ts'

/** Its task may run, for all that the log knows: nothing else of that name is assigned meanwhile. */
export const holdsLease = ({ lease }: Pick<AssignmentRow, 'lease'>): boolean => lease !== null && !lease.over

export const overLease = ({ lease }: Pick<AssignmentRow, 'lease'>): LeaseRow | null => lease && { ...lease, over: true }

/** Once for each assignment; what is over stays over. */
export function grantLease(state: ClusterState, command: GrantLease, index: number): Answer {
  const held = find(state, command)
  if (held === undefined) return notHere(command)
  const { assignment, ending, lease } = held
  const { taskId } = command
  if (assignment.leaseLengthMs === 0) return refused('conflict', `task ${taskId} was assigned without a lease`)
  if (ending !== null) return refused('conflict', `task ${taskId} has ended as ${ending.state}`)
  if (lease?.over) return refused('conflict', `the lease of task ${taskId} is over`)
  if (state.agents.get(assignment.agentId)?.condition === 'agent_gone') {
    return refused('conflict', `agent ${assignment.agentId} is gone`)
  }
  if (lease !== null) return accepted(index)
  const granted = { epoch: command.epoch, grantedAtMs: state.atMs, over: false, forgotten: false }
  state.assignments.set(keyOf(command), { ...held, lease: granted })
  return accepted(index)
}

/** Of a task that has ended; the end of one that has not is its `EndTask`. */
export function endLease(state: ClusterState, command: EndLease, index: number): Answer {
  const held = find(state, command)
  if (held === undefined) return notHere(command)
  const { lease, ending } = held
  if (lease === null || lease.over) return accepted(index)
  if (ending === null) return refused('conflict', `task ${command.taskId} has not ended`)
  if (lease.forgotten) state.assignments.delete(keyOf(command))
  else state.assignments.set(keyOf(command), { ...held, lease: overLease(held) })
  return accepted(index)
}

type Named = Pick<GrantLease, 'frameworkId' | 'taskId' | 'attempt' | 'containerId'>

const keyOf = ({ frameworkId, taskId }: Named): string => assignmentKey(frameworkId, taskId)

function find(state: ClusterState, named: Named): AssignmentRow | undefined {
  const held = state.assignments.get(keyOf(named))
  const isIt = held?.assignment.containerId === named.containerId && held.assignment.attempt === named.attempt
  return isIt ? held : undefined
}

const notHere = ({ frameworkId, taskId, attempt }: Named): Answer =>
  refused('not-found', `attempt ${attempt} of task ${taskId} of ${frameworkId} is not assigned`)
