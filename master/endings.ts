import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { TaskStatus } from '../proto/gen/messages.ts'
import { assignedContainer } from './attempts.ts'
import type { Frameworks } from './frameworks.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { Proposer } from './proposer.ts'
import type { ClusterState } from './state/cluster.ts'

interface EndingsParts {
  readonly state: ClusterState
  readonly liveTasks: Pick<LiveTasks, 'container' | 'release'>
  readonly frameworks: Pick<Frameworks, 'deliver'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly log: Log
}

interface Ending {
  readonly status: TaskStatus
  readonly released: boolean
  readonly leaseOver: boolean
}

/** Commits how a task ended, once, before its scheduler hears of it and before the agent's status is acknowledged. */
export class Endings {
  readonly #parts: EndingsParts
  readonly #underWay = new Map<string, Promise<void>>()
  readonly #watchers = new Set<(status: TaskStatus) => void>()

  constructor(parts: EndingsParts) {
    this.#parts = parts
  }

  onEnded(watcher: (status: TaskStatus) => void): void {
    this.#watchers.add(watcher)
  }

  /** Resolves once an ending of this attempt is committed, this one or one before it. `released`: what it used is free again. */
  commit(status: TaskStatus, released: boolean, signal: AbortSignal): Promise<void> {
    return this.#commit({ status, released, leaseOver: false }, signal)
  }

  /** As `commit`, where it is certain that nothing of the task runs any more: its agent says so, or its lease ran out. */
  commitLeft(status: TaskStatus, signal: AbortSignal): Promise<void> {
    return this.#commit({ status, released: true, leaseOver: true }, signal)
  }

  #commit({ status, released, leaseOver }: Ending, signal: AbortSignal): Promise<void> {
    const assigned = assignedContainer(status)
    if (released) this.#parts.liveTasks.release(assigned)
    const row = this.#parts.state.assignmentOf(status.frameworkId, status.taskId)
    if (row === undefined || row.assignment.containerId !== assigned || row.ending !== null) return Promise.resolve()
    const before = this.#underWay.get(assigned)
    if (before !== undefined) return before
    const commit = this.#propose({ status, leaseOver, attempt: row.assignment.attempt }, signal).finally(() =>
      this.#underWay.delete(assigned)
    )
    this.#underWay.set(assigned, commit)
    return commit
  }

  async #propose(
    { status, attempt, leaseOver }: Omit<Ending, 'released'> & { attempt: number },
    signal: AbortSignal
  ): Promise<void> {
    const { frameworkId, taskId } = status
    try {
      await this.#parts.proposer.propose({ endTask: { frameworkId, taskId, attempt, status, leaseOver } }, signal)
    } catch (e) {
      // Another ending was committed first, or the record is forgotten: either way there is nothing left to end.
      if (!isFault(e, 'conflict') && !isFault(e, 'not-found')) throw e
      this.#parts.log.info({ frameworkId, taskId, attempt, err: e.message }, 'task.ending_superseded')
      return
    }
    const live = this.#parts.liveTasks.container(assignedContainer(status))
    if (live !== undefined) live.status = status
    this.#parts.log.info(
      { frameworkId, taskId, attempt: status.attempt, state: status.state, reason: status.reason, exitCode: status.exitCode },
      'task.ended'
    )
    this.#parts.frameworks.deliver(frameworkId, { kind: 'status', status })
    for (const watcher of this.#watchers) watcher(status)
  }
}
