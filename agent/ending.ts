import { Fault, isFault } from '../base/fault.ts'
import type { Limitation } from '../isolators/isolator.ts'
import type { ContainerExit } from '../isolators/runtime/runtime.ts'
import type { Reason, TaskStatus } from '../proto/gen/messages.ts'
import type { TaskState } from '../proto/task-state.ts'

/** Why a task ended, out of what was seen. Pure. */

export interface Ending {
  readonly state: TaskState
  readonly reason: Reason
  readonly message: string
  readonly exitCode?: number
  readonly signal?: number
  readonly outOfMemory?: boolean
}

/** The cause that was decided before the program ended: somebody asked, or a limit was passed. */
export type Decided =
  | { readonly kind: 'kill' }
  /** All workloads of the node are stopped; a task that is restarted comes back with the next agent. */
  | { readonly kind: 'node-stop' }
  | { readonly kind: 'limit'; readonly limitation: Limitation }
  | { readonly kind: 'probe'; readonly message: string }
  | { readonly kind: 'lease'; readonly message: string }
  /** The pod that it belongs to is over. */
  | { readonly kind: 'pod'; readonly message: string }
  | undefined

const longestWhy = 1_000

/** The decision as facts of a row in the ledger. None for a kill, which has a row of its own. */
export function decisionFacts(decided: NonNullable<Decided>): Readonly<Record<string, string>> {
  switch (decided.kind) {
    case 'kill':
      return {}
    case 'node-stop':
      return { decided: 'node-stop', why: '' }
    case 'limit':
      return { decided: decided.limitation.limit, why: decided.limitation.message.slice(0, longestWhy) }
    case 'probe':
    case 'lease':
    case 'pod':
      return { decided: decided.kind, why: decided.message.slice(0, longestWhy) }
  }
}

/** Undefined where the facts tell of no decision that this version knows. */
export function decisionOf({ decided: kind, why: message = '' }: Readonly<Record<string, string>>): Decided {
  switch (kind) {
    case 'node-stop':
      return { kind }
    case 'memory':
    case 'disk':
    case 'pids':
    case 'other':
      return { kind: 'limit', limitation: { limit: kind, message } }
    case 'probe':
    case 'lease':
    case 'pod':
      return { kind, message }
    default:
      return undefined
  }
}

export function endingOf(exit: ContainerExit, decided: Decided): Ending {
  if (decided !== undefined && decided.kind !== 'kill' && decided.kind !== 'limit') return endingOfOurs(exit, decided)
  if (exit.kind === 'lost') {
    if (decided?.kind === 'kill') return { state: 'killed', reason: 'kill_requested', message: `killed as asked; ${exit.why}` }
    return { state: 'failed', reason: 'exit_unknown', message: exit.why }
  }
  const facts = {
    exitCode: exit.code,
    ...(exit.signal === undefined ? {} : { signal: exit.signal }),
    outOfMemory: exit.outOfMemory
  }
  if (decided?.kind === 'limit') {
    const reason = limitReasons[decided.limitation.limit]
    return { state: 'failed', reason, message: decided.limitation.message, ...facts }
  }
  if (decided?.kind === 'kill') return { state: 'killed', reason: 'kill_requested', message: 'killed as asked', ...facts }
  if (exit.code === 0) return { state: 'finished', reason: 'exited', message: '', ...facts }
  if (exit.outOfMemory) {
    return { state: 'failed', reason: 'limit_memory', message: 'the program needed more memory than its limit', ...facts }
  }
  if (exit.signal !== undefined)
    return { state: 'failed', reason: 'signaled', message: `ended by signal ${exit.signal}`, ...facts }
  return { state: 'failed', reason: 'exited', message: `ended with exit code ${exit.code}`, ...facts }
}

const limitReasons: Readonly<Record<Limitation['limit'], Reason>> = {
  memory: 'limit_memory',
  disk: 'limit_disk',
  pids: 'limit_pids',
  other: 'limit_other'
}

function endingOfOurs(exit: ContainerExit, decided: Exclude<Decided, undefined | { kind: 'kill' | 'limit' }>): Ending {
  const facts =
    exit.kind === 'lost'
      ? {}
      : { exitCode: exit.code, ...(exit.signal === undefined ? {} : { signal: exit.signal }), outOfMemory: exit.outOfMemory }
  switch (decided.kind) {
    case 'lease':
      return { state: 'failed', reason: 'lease_expired', message: decided.message, ...facts }
    case 'probe':
      return { state: 'failed', reason: 'probe_failed', message: decided.message, ...facts }
    case 'node-stop':
      return { state: 'killed', reason: 'node_stopped', message: 'ended with all workloads of its node', ...facts }
    case 'pod':
      return { state: 'killed', reason: 'pod_ended', message: decided.message, ...facts }
  }
}

/** Of one whose launch was given up because its end was decided. */
export function endingOfUnlaunched(decided: Decided): Ending {
  if (decided?.kind === 'pod') return { state: 'killed', reason: 'pod_ended', message: decided.message }
  const reason = decided?.kind === 'node-stop' ? 'node_stopped' : 'killed_during_launch'
  return { state: 'killed', reason, message: 'killed as asked before it ran' }
}

const reasons: ReadonlySet<string> = new Set<Reason>([
  'task_invalid',
  'image_unknown',
  'image_damaged',
  'image_pull_failed',
  'artifact_failed',
  'program_not_found',
  'program_not_executable',
  'launch_failed',
  'unsupported_request',
  'stage_timeout',
  'disk_full',
  'memory_too_small',
  'lease_refused',
  'policy_refused',
  'resources_unknown',
  'lease_expired'
])

/** What a task ends with that never ran. Broken invariants are not endings: they are rethrown by the caller. */
export function endingOfFault(fault: Fault): Ending {
  const named = String(fault.detail['reason'] ?? '')
  const reason = reasons.has(named) ? (named as Reason) : (reasonByCode[fault.code] ?? 'launch_failed')
  return { state: 'failed', reason, message: fault.message }
}

const reasonByCode: Partial<Record<Fault['code'], Reason>> = {
  'not-found': 'image_unknown',
  corrupt: 'image_damaged',
  exhausted: 'disk_full',
  invalid: 'task_invalid',
  unsupported: 'unsupported_request'
}

/** A stage that passed its deadline, or a failure of the world, as a Fault; anything else is a bug and comes back unchanged. */
export function launchFailure(e: unknown, stage: string): unknown {
  if (isFault(e)) return e
  if (e instanceof Error && e.name === 'TimeoutError') {
    return new Fault('timeout', `the launch passed its deadline while ${stage}`, { reason: 'stage_timeout', stage })
  }
  if (e instanceof Error && 'code' in e && e.code === 'ENOSPC') {
    return new Fault('exhausted', 'no space is left on the node’s disk', { reason: 'disk_full' }, e)
  }
  if (e instanceof Error && 'syscall' in e) return new Fault('unavailable', `the host failed while ${stage}: ${e.message}`, {}, e)
  return e
}

export const statusFacts = (ending: Ending): Partial<TaskStatus> => ({
  state: ending.state,
  reason: ending.reason,
  message: ending.message,
  ...(ending.exitCode === undefined ? {} : { exitCode: ending.exitCode }),
  ...(ending.signal === undefined ? {} : { signal: ending.signal }),
  outOfMemory: ending.outOfMemory ?? false
})
