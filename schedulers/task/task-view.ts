import type { KillPolicy, TaskDefinition, TaskStatus, TaskWish } from '../../proto/gen/messages.ts'
import { isTerminal, type ShownTaskState } from '../../proto/task-state.ts'

/** One task as people see it. */
export interface TaskView {
  readonly taskId: string
  readonly frameworkId: string
  readonly role: string
  readonly definition: TaskDefinition
  readonly createdAtMs: number
  readonly removeWhenDone: boolean
  readonly state: ShownTaskState
  /** The status that says so; null before the master knew of the task. */
  readonly status: TaskStatus | null
  readonly message: string
  readonly startedAtMs: number | null
  readonly endedAtMs: number | null
}

/** What the scheduler knows of one wish. */
export interface TaskRecord {
  readonly taskId: string
  readonly definition: TaskDefinition
  readonly role: string
  readonly wish: TaskWish
  /** Of its row in the store. */
  readonly version: number
  readonly status: TaskStatus | null
  readonly startedAtMs: number | null
  /** An acceptance is under way whose outcome is not known yet. */
  readonly launching: boolean
  /** Why it still waits. */
  readonly waits: string
}

export const frameworkOfTasks = 'hearth-tasks'

/** Launches that never reached a node are tried again with the next attempt, this often. */
export const maxAttempts = 3

/** How the task ended, if it did. One that was dropped before any node had it is still to be launched. */
export function endingOf(record: TaskRecord): TaskStatus | null {
  const { wish, status } = record
  if (wish.ending !== null) return wish.ending
  if (status === null || status.state === 'unspecified_state' || !isTerminal(status.state)) return null
  return isLaunchedAgain(record) ? null : status
}

/** No node has it, as far as is known. */
export const isUnplaced = (record: TaskRecord): boolean =>
  record.status === null || record.status.state === 'dropped' || isLaunchedAgain(record)

const isLaunchedAgain = (record: TaskRecord): boolean => isDroppedOnTheWay(record) || movesOn(record)

/** It has ended where it was because nobody renewed its lease there, and its policy wants it to go on: elsewhere, then. */
export function movesOn({ status, wish, definition }: TaskRecord): boolean {
  if (status?.reason !== 'lease_expired' || wish.kill !== null) return false
  const maxAttempts = definition.restart?.maxAttempts ?? 0
  return isMoved(definition) && (maxAttempts === 0 || status.attempt < maxAttempts)
}

const isMoved = ({ lease, restart }: TaskDefinition): boolean =>
  lease !== null && (restart?.mode === 'on_failure' || restart?.mode === 'always')

/** It never ran, so launching it again cannot double it. One that waits for another's lease was not even tried. */
function isDroppedOnTheWay({ status, wish, definition }: TaskRecord): boolean {
  if (status?.state !== 'dropped' || wish.kill !== null) return false
  return status.attempt < maxAttempts || status.reason === 'lease_refused' || isMoved(definition)
}

export function viewOf(record: TaskRecord): TaskView {
  const { taskId, definition, role, wish } = record
  const ending = endingOf(record)
  const status = ending ?? (isLaunchedAgain(record) ? null : record.status)
  return {
    taskId,
    frameworkId: frameworkOfTasks,
    role,
    definition,
    createdAtMs: wish.createdAtMs,
    removeWhenDone: wish.removeWhenDone,
    state: shownState(status),
    status,
    message: status === null ? record.waits : status.message,
    startedAtMs: record.startedAtMs,
    endedAtMs: ending === null ? null : ending.atMs
  }
}

function shownState(status: TaskStatus | null): ShownTaskState {
  if (status === null || status.state === 'unspecified_state') return 'staging'
  return status.reason === 'agent_unheard' ? 'unknown' : status.state
}

export const defaultKillPolicy: KillPolicy = { signal: '', graceMs: 10_000 }
