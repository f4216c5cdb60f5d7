import type { Agents, NodeView } from './agents.ts'
import type { TaskView } from './api/ports.ts'
import { taskJson } from './api/task-json.ts'
import type { EventSubject, Events } from './events.ts'

interface EventSourceParts {
  readonly events: Events
  readonly agents: Agents
  readonly tasks: {
    list(): readonly TaskView[]
    watch(onChange: (task: TaskView, removed: boolean) => void, signal: AbortSignal): void
  }
}

/** Fills the event stream from tasks and nodes. Several changes of a node in one turn are one event. */
export function feedEvents(parts: EventSourceParts, closing: AbortSignal): void {
  const { events, agents, tasks } = parts
  const shown = (task: TaskView) => taskJson(task, agents.node(task.status?.agentId ?? '')?.hostname)
  tasks.watch((task, removed) => {
    events.append(taskSubject(task), removed ? { ...shown(task), removed: true } : shown(task))
  }, closing)
  const changed = new Set<string>()
  agents.onChange((agentId) => {
    if (closing.aborted) return
    if (changed.size === 0) {
      setImmediate(() => {
        const nodes = [...changed].map((id) => agents.node(id))
        changed.clear()
        for (const node of nodes) if (node !== undefined) events.append({ kind: 'node' }, node)
      })
    }
    changed.add(agentId)
  })
}

/** What a reader starts from. */
export function snapshotOf(parts: Pick<EventSourceParts, 'agents' | 'tasks'>, wanted: (subject: EventSubject) => boolean) {
  const nodes: readonly NodeView[] = wanted({ kind: 'node' }) ? parts.agents.nodes() : []
  const hosts = new Map(parts.agents.nodes().map((n) => [n.nodeId, n.hostname]))
  const tasks = parts.tasks
    .list()
    .filter((task) => wanted(taskSubject(task)))
    .map((task) => taskJson(task, hosts.get(task.status?.agentId ?? '')))
  return { tasks, nodes }
}

const taskSubject = (task: TaskView): EventSubject => ({
  kind: 'task',
  frameworkId: task.frameworkId,
  taskId: task.taskId,
  role: task.role
})
