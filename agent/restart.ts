import type { Reason, RestartPolicy, TaskRow } from '../proto/gen/messages.ts'
import type { TaskState } from '../proto/task-state.ts'

/** What an attempt's restart policy says to its end. Pure. */

export const restartDefaults = { backoffMs: 1_000, maxBackoffMs: 60_000, resetAfterMs: 10_000 } as const

export interface AttemptEnding {
  readonly state: TaskState
  readonly reason: Reason
}

/** What the next attempt begins with. */
export interface NextAttempt {
  readonly attempt: number
  readonly restarts: number
  readonly quickEnds: number
  readonly backoffMs: number
}

/** Trying again cannot change these, or somebody has decided that the task ends. */
const final: ReadonlySet<Reason> = new Set<Reason>([
  'task_invalid',
  'image_unknown',
  'image_damaged',
  'program_not_found',
  'program_not_executable',
  'unsupported_request',
  'memory_too_small',
  'lease_refused',
  'lease_expired',
  'kill_requested',
  'killed_during_launch',
  'pod_ended',
  'framework_removed'
])

/** Not the task's doing: they cost none of its attempts. */
const ofTheNode: ReadonlySet<Reason> = new Set<Reason>(['node_rebooted', 'node_stopped'])

export const restarts = (policy: RestartPolicy | null): boolean => policy?.mode === 'on_failure' || policy?.mode === 'always'

/** Whether another attempt follows. An end that the node brought about is a failure for every policy. */
export function isFollowed(policy: RestartPolicy | null, row: Pick<TaskRow, 'restarts'>, ending: AttemptEnding): boolean {
  if (policy === null || !restarts(policy) || final.has(ending.reason)) return false
  if (ofTheNode.has(ending.reason)) return true
  if (policy.mode === 'on_failure' && ending.state === 'finished') return false
  return policy.maxAttempts === 0 || row.restarts + 1 < policy.maxAttempts
}

/** `ranMs`: for how long the attempt that ended ran; 0 where it never did, or where nobody knows. */
export function nextAttempt(
  policy: RestartPolicy | null,
  row: Pick<TaskRow, 'attempt' | 'restarts' | 'quickEnds'>,
  reason: Reason,
  ranMs: number
): NextAttempt {
  const { backoffMs, maxBackoffMs, resetAfterMs } = timesOf(policy)
  const quickEnds = ranMs >= resetAfterMs ? 0 : row.quickEnds
  return {
    attempt: row.attempt + 1,
    restarts: row.restarts + (ofTheNode.has(reason) ? 0 : 1),
    quickEnds: quickEnds + 1,
    backoffMs: Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(quickEnds, 30))
  }
}

/** How much of the back-off is left. After a reboot it begins anew: what it spares may be what felled the node. */
export function backoffLeftMs(
  row: Pick<TaskRow, 'backoffMs' | 'beginAtBootMs' | 'bootId'>,
  now: { readonly bootId: string; readonly bootMs: number }
): number {
  if (row.bootId !== now.bootId) return row.backoffMs
  return Math.min(row.backoffMs, Math.max(0, row.beginAtBootMs - now.bootMs))
}

function timesOf(policy: RestartPolicy | null) {
  const backoffMs = policy?.backoffMs || restartDefaults.backoffMs
  return {
    backoffMs,
    maxBackoffMs: Math.max(backoffMs, policy?.maxBackoffMs || restartDefaults.maxBackoffMs),
    resetAfterMs: policy?.resetAfterMs || restartDefaults.resetAfterMs
  }
}
