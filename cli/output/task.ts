import { isTerminal } from '../../proto/task-state.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import { showDuration } from '../amounts.ts'
import type { Paint } from './colour.ts'

const signals: Readonly<Record<number, string>> = {
  1: 'HUP',
  2: 'INT',
  3: 'QUIT',
  4: 'ILL',
  6: 'ABRT',
  9: 'KILL',
  11: 'SEGV',
  13: 'PIPE',
  15: 'TERM'
}

/** `32 hexadecimal digits` are for machines; twelve of them are for people, as in docker. Other ids stay as they are. */
export const shortId = (id: string): string => (/^[0-9a-f]{32,}$/.test(id) ? id.slice(0, 12) : id)

export const hasEnded = (task: Pick<Task, 'state'>): boolean => task.state !== 'unknown' && isTerminal(task.state)

/** `running 5m 2s`, `finished (0) 3s ago`, `failed: program_not_found`. */
export function showState(task: Task, nowMs: number): string {
  if (!hasEnded(task)) {
    const since = task.startedAtMs ?? task.createdAtMs
    return `${task.state} ${showDuration(nowMs - since)}`
  }
  const ago = task.endedAtMs === null ? '' : ` ${showDuration(nowMs - task.endedAtMs)} ago`
  return `${task.state}${showOutcome(task)}${ago}`
}

function showOutcome(task: Task): string {
  if (task.signal !== null && task.signal > 0) return ` (${showSignal(task.signal)})`
  if (task.exitCode !== null) return ` (${task.exitCode})`
  return task.reason === null || task.reason === 'unspecified_reason' ? '' : ` (${task.reason.replaceAll('_', ' ')})`
}

export const showSignal = (signal: number): string => `SIG${signals[signal] ?? signal}`

export function paintState(paint: Paint, text: string, task: Task): string {
  if (task.state === 'running') return paint('green', text)
  if (task.state === 'finished') return paint('grey', text)
  return hasEnded(task) ? paint('red', text) : paint('yellow', text)
}
