import type { TaskStatus } from '../proto/gen/messages.ts'
import { addResources, type Resources } from '../proto/resources.ts'
import type { NodeChanges } from './node-changes.ts'

/** What runs, or is about to run, on an agent. Soft: a new leader rebuilds it from the agents. */
export interface LiveTask {
  readonly frameworkId: string
  readonly taskId: string
  readonly attempt: number
  readonly containerId: string
  readonly agentId: string
  readonly role: string
  resources: Resources
  /** The latest that is known, made by the agent or by the master. */
  status: TaskStatus
  /** The highest number of the agent's statuses that was applied to this task. */
  lastNumber: number
  /** The agent is known to have the launch in its ledger. */
  delivered: boolean
  /** Ended on the host: its resources are free again. */
  released: boolean
}

/** The live tasks, found by container, by task and by node. */
export class LiveTasks {
  readonly #changes: Pick<NodeChanges, 'touched'>
  readonly #tasks = new Map<string, LiveTask>()
  readonly #byAgent = new Map<string, Set<LiveTask>>()
  readonly #latest = new Map<string, LiveTask>()

  constructor(changes: Pick<NodeChanges, 'touched'>) {
    this.#changes = changes
  }

  put(task: LiveTask): void {
    this.drop(task.containerId)
    this.#tasks.set(task.containerId, task)
    const key = taskKey(task.frameworkId, task.taskId)
    const latest = this.#latest.get(key)
    if (latest === undefined || latest.attempt <= task.attempt) this.#latest.set(key, task)
    const here = this.#byAgent.get(task.agentId) ?? new Set()
    this.#byAgent.set(task.agentId, here.add(task))
    this.#changes.touched(task.agentId)
  }

  drop(containerId: string): void {
    const task = this.#tasks.get(containerId)
    if (task === undefined) return
    this.#tasks.delete(containerId)
    const here = this.#byAgent.get(task.agentId)
    here?.delete(task)
    if (here?.size === 0) this.#byAgent.delete(task.agentId)
    const key = taskKey(task.frameworkId, task.taskId)
    if (this.#latest.get(key) === task) this.#latest.delete(key)
    this.#changes.touched(task.agentId)
  }

  /** It has other resources from now on. */
  resize(containerId: string, resources: Resources): void {
    const task = this.#tasks.get(containerId)
    if (task === undefined) return
    task.resources = resources
    this.#changes.touched(task.agentId)
  }

  /** The host holds nothing of it any more: what it used is free. */
  release(containerId: string): void {
    const task = this.#tasks.get(containerId)
    if (task === undefined || task.released) return
    task.released = true
    this.#changes.touched(task.agentId)
  }

  container(containerId: string): LiveTask | undefined {
    return this.#tasks.get(containerId)
  }

  /** The latest attempt. */
  task(frameworkId: string, taskId: string): LiveTask | undefined {
    return this.#latest.get(taskKey(frameworkId, taskId))
  }

  tasksOn(agentId: string): Iterable<LiveTask> {
    return this.#byAgent.get(agentId) ?? []
  }

  tasksOf(frameworkId: string): readonly LiveTask[] {
    return [...this.#latest.values()].filter((t) => t.frameworkId === frameworkId)
  }

  usedOn(agentId: string): Resources {
    let used: Resources = []
    for (const task of this.tasksOn(agentId)) if (!task.released) used = addResources(used, task.resources)
    return used
  }
}

/** Ids hold no slash. */
export const taskKey = (frameworkId: string, taskId: string): string => `${frameworkId}/${taskId}`
