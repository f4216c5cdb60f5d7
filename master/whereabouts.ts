import { type LiveTasks, taskKey } from './live-tasks.ts'
import type { ClusterState } from './state/cluster.ts'

interface WhereaboutsParts {
  readonly state: Pick<ClusterState, 'assignmentOf'>
  readonly liveTasks: Pick<LiveTasks, 'task'>
}

/** Which agent has, or had, a task. */
export class Whereabouts {
  readonly #parts: WhereaboutsParts
  readonly #locating = new Map<string, Set<() => void>>()

  constructor(parts: WhereaboutsParts) {
    this.#parts = parts
  }

  /**
   * The agent, as soon as it is known to have the task.
   * Waits while the task is not yet placed; ends only by success or by the signal.
   */
  async locate(frameworkId: string, taskId: string, signal: AbortSignal): Promise<string> {
    for (;;) {
      signal.throwIfAborted()
      const agentId = this.locateNow(frameworkId, taskId)
      if (agentId !== undefined) return agentId
      await this.#woken(taskKey(frameworkId, taskId), signal)
    }
  }

  locateNow(frameworkId: string, taskId: string): string | undefined {
    const task = this.#parts.liveTasks.task(frameworkId, taskId)
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    return task?.delivered || row?.ending ? row?.assignment.agentId : undefined
  }

  /** The task has reached its agent, or has ended. */
  known(frameworkId: string, taskId: string): void {
    for (const wake of this.#locating.get(taskKey(frameworkId, taskId)) ?? []) wake()
  }

  #woken(key: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#locating.get(key) ?? new Set()
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        waiting.delete(wake)
        if (waiting.size === 0) this.#locating.delete(key)
        resolve()
      }
      this.#locating.set(key, waiting.add(wake))
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}
