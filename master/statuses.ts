import type { Log } from '../base/log.ts'
import type { TaskStatus } from '../proto/gen/messages.ts'
import { canMove, isTerminal } from '../proto/task-state.ts'
import { Acknowledgements } from './acknowledgements.ts'
import { assignedContainer, taskStatusOf } from './attempts.ts'
import type { Background } from './background.ts'
import type { Endings } from './endings.ts'
import type { Frameworks } from './frameworks.ts'
import type { AgentLink } from './link.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { Leadership } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'

interface StatusesParts {
  readonly state: ClusterState
  readonly liveTasks: Pick<LiveTasks, 'container' | 'drop'>
  readonly frameworks: Frameworks
  readonly endings: Endings
  readonly leadership: Pick<Leadership, 'term'>
  readonly background: Background
  readonly log: Log
}

/** Takes in what agents report about their tasks: repeats are recognised by number, endings are committed, then acknowledged. */
export class Statuses {
  readonly #parts: StatusesParts
  readonly #acknowledgements = new WeakMap<AgentLink, Acknowledgements>()
  readonly #watchers = new Set<(task: LiveTask) => void>()

  constructor(parts: StatusesParts) {
    this.#parts = parts
  }

  onApplied(watcher: (task: LiveTask) => void): void {
    this.#watchers.add(watcher)
  }

  /** Throws `Fault('exhausted')` where the agent has too many under way; its link must then be cut. */
  received(link: AgentLink, sent: TaskStatus): void {
    const status = taskStatusOf({ ...sent, agentId: link.agentId })
    const acknowledgements = this.#acknowledgementsOf(link)
    acknowledgements.received(status.number)
    if (status.state === 'unspecified_state' || !isTerminal(status.state)) {
      this.#moved(status)
      acknowledgements.ready(status.number)
      return
    }
    this.#parts.background.run('task.ending_not_committed', async (signal) => {
      await this.ended(status, signal)
      acknowledgements.ready(status.number)
      this.#letGo(link, status)
    })
  }

  /** An agent's word that a task has ended, from a status or from its registration. */
  async ended(status: TaskStatus, signal: AbortSignal): Promise<void> {
    const task = this.#parts.liveTasks.container(assignedContainer(status))
    if (task !== undefined) {
      task.delivered = true
      task.lastNumber = Math.max(task.lastNumber, status.number)
    }
    await this.#parts.endings.commitLeft(status, signal)
    if (task !== undefined) this.#tell(task)
  }

  #moved(status: TaskStatus): void {
    const task = this.#parts.liveTasks.container(assignedContainer(status))
    if (task === undefined || task.agentId !== status.agentId || status.number <= task.lastNumber) return
    task.lastNumber = status.number
    task.delivered = true
    const { state: from } = task.status
    if (from === 'unspecified_state' || status.state === 'unspecified_state') return
    if (canMove(from, status.state)) {
      task.status = status
      this.#parts.log.info({ taskId: status.taskId, attempt: status.attempt, state: status.state }, 'task.moved')
      this.#parts.frameworks.deliver(status.frameworkId, { kind: 'status', status })
    }
    this.#tell(task)
  }

  /** Nobody remembers this task any more: neither need the agent. */
  #letGo(link: AgentLink, status: TaskStatus): void {
    const { frameworkId, taskId } = status
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    if (row !== undefined && row.lease?.forgotten !== true) return
    this.#parts.liveTasks.drop(assignedContainer(status))
    link.send('Forget', { epoch: this.#parts.leadership.term, frameworkId, taskId })
  }

  #tell(task: LiveTask): void {
    for (const watcher of this.#watchers) watcher(task)
  }

  #acknowledgementsOf(link: AgentLink): Acknowledgements {
    let found = this.#acknowledgements.get(link)
    if (found === undefined) {
      found = new Acknowledgements((number) => link.send('StatusAcknowledgement', { number, epoch: this.#parts.leadership.term }))
      this.#acknowledgements.set(link, found)
    }
    return found
  }
}
