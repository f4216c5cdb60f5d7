import type { TaskStatus } from '../proto/gen/messages.ts'

/** Ends of earlier attempts that a task tells; the agent keeps to the same number. */
const endsTold = 10

/** Names the assignment that a status belongs to, whatever the attempt. */
export const assignedContainer = (status: Pick<TaskStatus, 'assignedContainerId' | 'containerId'>): string =>
  status.assignedContainerId || status.containerId

/** What a master's word about a task leaves as the agent told it. */
export const attemptOf = ({ attempt, containerId, assignedContainerId, earlierAttempts }: TaskStatus) => ({
  attempt,
  containerId,
  assignedContainerId,
  earlierAttempts
})

/** What an agent says of an attempt, as a status of the task: the end of one that is followed by another is no end of the task. */
export function taskStatusOf(status: TaskStatus): TaskStatus {
  if (!status.willRestart) return status
  const { attempt, containerId, state, reason, exitCode, signal, outOfMemory, startedAtMs, atMs, earlierAttempts, ...rest } =
    status
  const facts = { ...(exitCode === undefined ? {} : { exitCode }), ...(signal === undefined ? {} : { signal }), outOfMemory }
  const end = { attempt, containerId, state, reason, message: status.message, ...facts, startedAtMs, endedAtMs: atMs }
  return {
    ...rest,
    attempt,
    containerId,
    atMs,
    reason,
    state: 'starting',
    message: `attempt ${attempt} ${status.message === '' ? `ended as ${state}` : status.message}; it starts again`,
    outOfMemory: false,
    startedAtMs: 0,
    earlierAttempts: [...earlierAttempts, end].slice(-endsTold)
  }
}
