import { createHash } from 'node:crypto'
import type { Log } from '../base/log.ts'
import { encodeMessage } from '../proto/codec.ts'
import type { KillPolicy, PodLaunch, TaskGroup } from '../proto/gen/messages.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { Leadership } from './replica.ts'
import type { Seats } from './seats.ts'
import type { ClusterState } from './state/cluster.ts'

interface AgentOrdersParts {
  readonly state: Pick<ClusterState, 'clusterId'>
  readonly liveTasks: Pick<LiveTasks, 'task'>
  readonly seats: Pick<Seats, 'link'>
  readonly leadership: Pick<Leadership, 'term'>
  readonly log: Log
}

/** What a launch carries besides whose it is. */
export interface LaunchBody {
  readonly group: TaskGroup
  /** Null for a single task. */
  readonly pod: PodLaunch | null
}

/** What the leader tells an agent about one task. An agent that is away is told nothing: its registration brings both up to date. */
export class AgentOrders {
  readonly #parts: AgentOrdersParts

  constructor(parts: AgentOrdersParts) {
    this.#parts = parts
  }

  reaches(agentId: string): boolean {
    return this.#parts.seats.link(agentId) !== undefined
  }

  launch(task: LiveTask, { group, pod }: LaunchBody): void {
    const { state, leadership, seats, log } = this.#parts
    const { agentId, containerId, attempt, frameworkId, taskId } = task
    const specDigest = digestOf(group)
    const launch = { epoch: leadership.term, clusterId: state.clusterId, group, attempt, containerId, specDigest, pod }
    seats.link(agentId)?.send('Launch', launch)
    log.info({ frameworkId, taskId, attempt, agentId }, 'task.launch_sent')
  }

  /** Where the agent is away, the task's scheduler asks again when it hears that the task is back. */
  kill(frameworkId: string, taskId: string, policy: KillPolicy): void {
    const { liveTasks, leadership, seats, log } = this.#parts
    const task = liveTasks.task(frameworkId, taskId)
    if (task === undefined || task.released) return
    const { agentId, attempt } = task
    log.info({ frameworkId, taskId, attempt }, 'task.kill_sent')
    seats.link(agentId)?.send('Kill', { epoch: leadership.term, frameworkId, taskId, attempt, policy })
  }

  forget(agentId: string, frameworkId: string, taskId: string): void {
    const { leadership, seats } = this.#parts
    seats.link(agentId)?.send('Forget', { epoch: leadership.term, frameworkId, taskId })
  }
}

/** What the assignment commits instead of the body. */
export const digestOf = (group: TaskGroup): string => createHash('sha256').update(encodeMessage('TaskGroup', group)).digest('hex')
