import { assert } from '../base/fault.ts'
import type { TaskState as WireTaskState } from './gen/messages.ts'

export type TaskState = Exclude<WireTaskState, 'unspecified_state'>

/**
 *   staging -> starting -> running -> [killing] -> finished | failed | killed
 *   running -> starting where the agent makes another attempt of the task
 *   before the container runs also: error (invalid), dropped (never launched), lost
 *   unreachable is no end: the agent may come back and the task with it; gone and gone_by_operator are ends.
 *
 * These are Mesos' thirteen; its `unknown` is only ever an answer to a question and never a task's state.
 */
const ends: readonly TaskState[] = ['finished', 'failed', 'killed', 'error', 'lost', 'dropped', 'gone', 'gone_by_operator']

const next: Readonly<Record<TaskState, readonly TaskState[]>> = {
  staging: ['starting', 'running', 'killing', 'unreachable', ...ends],
  starting: ['starting', 'running', 'killing', 'unreachable', ...ends],
  running: ['starting', 'running', 'killing', 'unreachable', ...ends],
  killing: ['unreachable', ...ends],
  unreachable: ['staging', 'starting', 'running', 'killing', ...ends],
  finished: [],
  failed: [],
  killed: [],
  error: [],
  lost: [],
  dropped: [],
  gone: [],
  gone_by_operator: []
}

/**
 * What people are told. `unknown`: it was given to a node by an earlier leader, and its node has not told this one yet what has become of
 * it. It says nothing of the task, so no task moves to it.
 */
export type ShownTaskState = TaskState | 'unknown'

export const taskStates = Object.keys(next) as readonly TaskState[]

/** A state that a newer version has and this one does not know is no end. */
const nextOf = (s: TaskState): readonly TaskState[] | undefined => next[s] as readonly TaskState[] | undefined

export const isTerminal = (s: TaskState): boolean => nextOf(s)?.length === 0

/** For facts from outside: a late or repeated status is dropped, not fatal. */
export const canMove = (from: TaskState, to: TaskState): boolean => nextOf(from)?.includes(to) ?? false

/** For our own decisions: a wrong one is a bug. */
export function move(from: TaskState, to: TaskState): TaskState {
  assert(canMove(from, to), `task may go ${from} -> ${to}`)
  return to
}
