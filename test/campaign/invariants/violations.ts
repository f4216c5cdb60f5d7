import type { Expected, ExpectedTask } from './expected.ts'
import { sequenceProblems } from './logs.ts'
import type { Observation } from './observe.ts'
import { orphans } from './orphans.ts'
import { isEnd, statusProblems } from './status-order.ts'

/** The eight, as sentences start with them. */
export type Invariant =
  | 'no task runs twice'
  | 'no exit code is lost'
  | 'no log byte is lost or doubled'
  | 'nothing is orphaned'
  | 'the health verdict is kept'
  | 'what is wanted is what runs'
  | 'statuses come once and in order'
  | 'the ledger reads clean'

/** One sentence for each broken invariant; none where all eight hold. Pure. */
export function violations(expected: Expected, seen: Observation): readonly string[] {
  const found: string[] = []
  const say = (invariant: Invariant, sentence: string): void => void found.push(`${invariant}: ${sentence}`)
  for (const task of expected.tasks) {
    checkExecutions(task, expected, seen, say)
    checkEnd(task, expected, seen, say)
    checkLog(task, seen, say)
    checkWanted(task, seen, say)
    checkHealth(task, expected, say)
  }
  for (const sentence of orphans(expected, seen)) say('nothing is orphaned', sentence)
  for (const sentence of statusProblems(expected.statuses)) say('statuses come once and in order', sentence)
  for (const sentence of seen.ledger.problems) say('the ledger reads clean', sentence)
  return found
}

type Say = (invariant: Invariant, sentence: string) => void

const nameOf = (task: ExpectedTask): string => `${task.taskId} (${task.containerId.slice(0, 8)})`

function checkExecutions(task: ExpectedTask, expected: Expected, seen: Observation, say: Say): void {
  const executions = seen.executions.get(task.containerId) ?? []
  if (executions.length > 1) say('no task runs twice', `the program of ${nameOf(task)} began ${executions.length} times`)
  if (task.wanted !== 'running' && executions.length < task.executionsLeast) {
    const end = endOf(task, expected)
    const how = end === undefined ? '' : `: ${end.state}, ${end.reason} ${end.message}`
    say('what is wanted is what runs', `the program of ${nameOf(task)} never began${how}`)
  }
}

/** The end that came first; status-order.ts finds a second one. */
const endOf = (task: ExpectedTask, { statuses }: Expected) =>
  statuses.find(({ status }) => status.containerId === task.containerId && isEnd(status.state))?.status

function checkEnd(task: ExpectedTask, expected: Expected, seen: Observation, say: Say): void {
  const end = endOf(task, expected)
  if (task.wanted === 'running') {
    if (end !== undefined) say('no exit code is lost', `${nameOf(task)} runs, and was told to have ended as ${end.state}`)
    return
  }
  if (end === undefined) {
    say('no exit code is lost', `the end of ${nameOf(task)} was never told`)
    return
  }
  const told = `${end.state}, ${end.reason}, exit code ${end.exitCode ?? 'none'}${end.message === '' ? '' : ` (${end.message})`}`
  const marked = seen.executions.get(task.containerId)?.at(-1)?.exitCode
  if (marked !== undefined && end.exitCode !== marked) {
    say('no exit code is lost', `${nameOf(task)} exited with ${marked}, and was told to have ended as ${told}`)
  }
  const fits = task.ends.some(
    (e) =>
      e.state === end.state && e.reason === end.reason && (e.exitCode === undefined || e.exitCode === (end.exitCode ?? undefined))
  )
  if (!fits) say('no exit code is lost', `${nameOf(task)} was told to have ended as ${told}`)
}

function checkLog(task: ExpectedTask, seen: Observation, say: Say): void {
  if (task.counts === undefined || task.wanted === 'forgotten') return
  const execution = seen.executions.get(task.containerId)?.at(-1)
  if (execution === undefined) return
  const log = seen.logs.get(task.containerId)
  // While it runs the last lines are still on their way.
  const last = task.wanted === 'running' ? undefined : execution.lines
  const problems = log === undefined ? ['it has none'] : sequenceProblems(log.stdout, { last, cut: task.counts.cut })
  const foreign = log?.foreign.map((line) => `${JSON.stringify(line)} is no line of the program`) ?? []
  for (const problem of [...problems, ...foreign]) {
    say('no log byte is lost or doubled', `log of ${nameOf(task)}: ${problem}`)
  }
}

function checkWanted(task: ExpectedTask, seen: Observation, say: Say): void {
  const count = (kind: 'program' | 'monitor'): number =>
    seen.processes.filter((p) => p.kind === kind && p.containerId === task.containerId).length
  if (task.wanted === 'running') {
    const many = task.processes !== undefined && count('program') > task.processes
    if (many) say('nothing is orphaned', `${nameOf(task)} has ${count('program')} processes, ${task.processes} of them its own`)
    if (count('program') === 0) say('what is wanted is what runs', `${nameOf(task)} shall run, and has no process`)
    if (count('monitor') !== 1)
      say('what is wanted is what runs', `${nameOf(task)} shall run, and has ${count('monitor')} monitors`)
  } else if (count('program') > 0) {
    say('what is wanted is what runs', `${nameOf(task)} shall not run, and has ${count('program')} processes`)
  }
  const kept = seen.sandboxes.has(task.containerId)
  const ran = (seen.executions.get(task.containerId)?.length ?? 0) > 0
  if (task.wanted === 'ended' && ran && !kept) say('what is wanted is what runs', `the sandbox of ${nameOf(task)} is gone`)
}

function checkHealth(task: ExpectedTask, expected: Expected, say: Say): void {
  if (task.ready === undefined) return
  const told = expected.statuses.filter(({ status }) => status.containerId === task.containerId).at(-1)?.status.ready
  const words = (ready: boolean | null | undefined): string => (ready === true ? 'ready' : 'not ready')
  if (told !== task.ready)
    say('the health verdict is kept', `${nameOf(task)} is ${words(task.ready)}, and was told to be ${words(told)}`)
}
