import type { AttemptEnd, TaskRow, TaskStatus } from '../proto/gen/messages.ts'

/** The attempt and the container that the master assigned; attempts that the agent made by itself name them too. */
export const assignmentOf = (row: TaskRow): { readonly attempt: number; readonly containerId: string } => ({
  attempt: row.assignedAttempt || row.attempt,
  containerId: row.assignedContainerId || row.containerId
})

/** An attempt's last status, as those of later attempts tell it. */
export const attemptEndOf = (status: TaskStatus): AttemptEnd => ({
  attempt: status.attempt,
  containerId: status.containerId,
  state: status.state,
  reason: status.reason,
  message: status.message.slice(0, 200),
  ...(status.exitCode === undefined ? {} : { exitCode: status.exitCode }),
  ...(status.signal === undefined ? {} : { signal: status.signal }),
  outOfMemory: status.outOfMemory,
  startedAtMs: status.startedAtMs,
  endedAtMs: status.atMs
})
