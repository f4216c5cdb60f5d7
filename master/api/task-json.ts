import type { TaskView } from './ports.ts'

/** A task as the API and the event stream show it; absent facts are null. */
export function taskJson(task: TaskView, hostname: string | undefined) {
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
    attempt: status?.attempt ?? 0,
    nodeId: filled(status?.agentId),
    hostname: filled(hostname),
    containerId: filled(status?.containerId),
    labels: Object.fromEntries(definition.labels.map((l) => [l.key, l.value])),
    resources: definition.resources,
    createdAtMs: task.createdAtMs,
    startedAtMs: task.startedAtMs,
    endedAtMs: task.endedAtMs,
    removeWhenDone: task.removeWhenDone
  }
}

export type TaskJson = ReturnType<typeof taskJson>

const filled = (text: string | undefined): string | null => (text === undefined || text === '' ? null : text)
