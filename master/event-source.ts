import type { LeaseDirectory, TaskView } from './api/ports.ts'
import { taskJson } from './api/task-json.ts'
import type { EventSubject, Events } from './events.ts'
import type { NodeChanges } from './node-changes.ts'
import type { Nodes, NodeView } from './nodes.ts'

interface EventSourceParts {
  readonly events: Events
  readonly changes: Pick<NodeChanges, 'watch'>
  readonly nodes: Pick<Nodes, 'node' | 'nodes'>
  readonly leases: LeaseDirectory
  readonly tasks: {
    list(): readonly TaskView[]
    watch(onChange: (task: TaskView, removed: boolean) => void, signal: AbortSignal): void
  }
}

/** Fills the event stream from tasks and nodes. Several changes of a node in one turn are one event. */
export function feedEvents(parts: EventSourceParts, closing: AbortSignal): void {
  const { events, changes, nodes, tasks, leases } = parts
  const shown = (task: TaskView) =>
    taskJson(task, nodes.node(task.status?.agentId ?? '')?.hostname, leases(task.frameworkId, task.taskId))
  tasks.watch((task, removed) => {
    events.append(taskSubject(task), removed ? { ...shown(task), removed: true } : shown(task))
  }, closing)
  const changed = new Set<string>()
  changes.watch((agentId) => {
    if (closing.aborted) return
    if (changed.size === 0) {
      setImmediate(() => {
        const views = [...changed].map((id) => nodes.node(id))
        changed.clear()
        for (const node of views) if (node !== undefined) events.append({ kind: 'node' }, node)
      })
    }
    changed.add(agentId)
  })
}

/** What a reader starts from. */
export function snapshotOf(
  parts: Pick<EventSourceParts, 'nodes' | 'tasks' | 'leases'>,
  wanted: (subject: EventSubject) => boolean
) {
  const nodes: readonly NodeView[] = wanted({ kind: 'node' }) ? parts.nodes.nodes() : []
  const hosts = new Map(parts.nodes.nodes().map((n) => [n.nodeId, n.hostname]))
  const tasks = parts.tasks
    .list()
    .filter((task) => wanted(taskSubject(task)))
    .map((task) => taskJson(task, hosts.get(task.status?.agentId ?? ''), parts.leases(task.frameworkId, task.taskId)))
  return { tasks, nodes }
}

const taskSubject = (task: TaskView): EventSubject => ({
  kind: 'task',
  frameworkId: task.frameworkId,
  taskId: task.taskId,
  role: task.role
})
