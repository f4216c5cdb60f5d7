import type { TaskDefinition } from '../../proto/gen/messages.ts'
import { isTerminal } from '../../proto/task-state.ts'
import type { LeaseFacts } from '../leases/lease-facts.ts'
import type { TaskView } from './ports.ts'
import { wallsJson } from './walls-json.ts'

/** A task as the API and the event stream show it; absent facts are null. */
export function taskJson(task: TaskView, hostname: string | undefined, lease: LeaseFacts) {
  const { definition, status } = task
  return {
    taskId: task.taskId,
    frameworkId: task.frameworkId,
    name: definition.name,
    role: task.role,
    image: definition.image,
    arguments: definition.process?.arguments ?? [],
    state: task.state,
    reason: status === null || status.reason === 'unspecified_reason' ? null : status.reason,
    message: filled(task.message),
    exitCode: status?.exitCode ?? null,
    signal: status?.signal ?? null,
    causes: status?.causes ?? [],
    attempt: status?.attempt ?? 0,
    attempts: attemptsJson(task),
    ready: status?.ready ?? null,
    restart: definition.restart === null ? 'never' : (modes[definition.restart.mode] ?? 'never'),
    lease: definition.lease === null ? null : { lengthMs: definition.lease.lengthMs, ...lease },
    nodeId: filled(status?.agentId),
    hostname: filled(hostname),
    containerId: filled(status?.containerId),
    seccomp: definition.seccomp || 'default',
    walls: wallsJson(definition.walls),
    labels: Object.fromEntries(definition.labels.map((l) => [l.key, l.value])),
    resources: definition.resources,
    limits: limitsJson(definition.limits),
    createdAtMs: task.createdAtMs,
    startedAtMs: task.startedAtMs,
    endedAtMs: task.endedAtMs,
    removeWhenDone: task.removeWhenDone,
    part: definition.part === 'unspecified_part' ? null : definition.part
  }
}

/** As it is asked for: only what is said. */
function limitsJson(limits: TaskDefinition['limits']) {
  if (limits === null) return null
  const { oomPolicy, io, hugePages, rdma, misc, ...numbers } = limits
  return {
    ...Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== 0 && value !== false && value !== '')),
    ...(oomPolicy === 'oom_task' ? { oomPolicy: 'task' } : {}),
    ...Object.fromEntries(Object.entries({ io, hugePages, rdma, misc }).filter(([, list]) => list.length > 0))
  }
}

const modes: Readonly<Record<string, string>> = { on_failure: 'on-failure', always: 'always' }

/** Every attempt that is still told, oldest first, the last one as it stands. */
function attemptsJson({ status }: TaskView) {
  if (status === null || status.attempt === 0) return []
  const { earlierAttempts } = status
  const ended = status.state !== 'unspecified_state' && isTerminal(status.state)
  const current = { ...status, endedAtMs: ended ? status.atMs : 0 }
  const all = earlierAttempts.some((a) => a.attempt === status.attempt) ? earlierAttempts : [...earlierAttempts, current]
  return all.map((a) => ({
    attempt: a.attempt,
    containerId: a.containerId,
    state: a.state,
    reason: a.reason === 'unspecified_reason' ? null : a.reason,
    message: filled(a.message),
    exitCode: a.exitCode ?? null,
    signal: a.signal ?? null,
    startedAtMs: a.startedAtMs || null,
    endedAtMs: a.endedAtMs || null
  }))
}

export type TaskJson = ReturnType<typeof taskJson>

const filled = (text: string | undefined): string | null => (text === undefined || text === '' ? null : text)
