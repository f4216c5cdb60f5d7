import type { Clock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import { isTerminal } from '../proto/task-state.ts'
import type { Background } from './background.ts'
import type { Endings } from './endings.ts'
import { masterStatus } from './frameworks.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { Proposer } from './proposer.ts'
import type { Seats } from './seats.ts'
import type { ClusterState } from './state/cluster.ts'

export interface MastersFacts {
  readonly members: readonly { readonly raftId: number; readonly nodeId: string }[]
}

interface RemovalsParts {
  readonly state: ClusterState
  /** The masters. */
  readonly members: () => Promise<MastersFacts>
  readonly seats: Pick<Seats, 'link'>
  readonly liveTasks: Pick<LiveTasks, 'tasksOn'>
  readonly endings: Pick<Endings, 'commit'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly background: Background
  readonly clock: Clock
  readonly log: Log
}

/** Nodes that the operator takes out for good: out of the door at once, and what ran there is over for the cluster. */
export class Removals implements Service {
  readonly name = 'removals'
  readonly #parts: RemovalsParts

  constructor(parts: RemovalsParts) {
    this.#parts = parts
  }

  /** A leader may have ended between a removal and the ends of its tasks. */
  async start(): Promise<void> {
    const { agents } = this.#parts.state
    for (const { agent, condition, mayReturn } of agents.values()) {
      if (condition === 'agent_gone' && !mayReturn) this.removed(agent.agentId)
    }
  }

  async stop(): Promise<void> {}

  /** Rejects with `Fault('conflict')` where it lives or has tasks and `force` does not say that it may. */
  async remove(nodeId: string, force: boolean, signal: AbortSignal): Promise<void> {
    const { state, seats, liveTasks, proposer, log } = this.#parts
    if (state.nodeIdentities.get(nodeId)?.role === 'master') await this.#checkLeft(nodeId)
    const tasks = [...liveTasks.tasksOn(nodeId)].filter((task) => !task.released).length
    const isConnected = seats.link(nodeId) !== undefined
    if (!force && (tasks > 0 || isConnected)) {
      const seen = [...(isConnected ? ['is connected'] : []), ...(tasks > 0 ? [`has ${tasks} tasks`] : [])].join(' and ')
      const next = 'end that there with hearth node stop --workloads, or say --force: its tasks are then lost to the cluster'
      throw new Fault('conflict', `node ${nodeId} ${seen}: ${next}`)
    }
    await proposer.propose({ removeNode: { nodeId } }, signal)
    log.info({ nodeId, tasks, force }, 'node.removed')
  }

  /** A member's vote counts, whatever its certificate says. */
  async #checkLeft(nodeId: string): Promise<void> {
    const { members } = await this.#parts.members()
    const member = members.find((one) => one.nodeId === nodeId)
    if (member === undefined) return
    const next = `take it out with hearth raft remove ${member.raftId}, which makes its certificate void too`
    throw new Fault('conflict', `node ${nodeId} is a master of this cluster: ${next}`)
  }

  /** Committed. */
  removed(nodeId: string): void {
    const { seats, liveTasks, endings, background, clock } = this.#parts
    seats.link(nodeId)?.close('the node was removed from the cluster')
    for (const task of liveTasks.tasksOn(nodeId)) {
      if (isTerminal(task.status.state === 'unspecified_state' ? 'staging' : task.status.state)) continue
      const why = 'its node was removed from the cluster by the operator'
      const status = masterStatus(task, 'gone_by_operator', 'agent_removed', why, clock.wallMs())
      background.run('task.ending_not_committed', (signal) => endings.commit(status, true, signal))
    }
  }
}
