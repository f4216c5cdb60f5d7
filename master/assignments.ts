import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { TaskGroup } from '../proto/gen/messages.ts'
import { newContainerId } from '../proto/ids.ts'
import type { Resources } from '../proto/resources.ts'
import { type AgentOrders, digestOf } from './agent-orders.ts'
import type { Deliveries } from './deliveries.ts'
import { type Frameworks, masterStatus } from './frameworks.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { Proposer } from './proposer.ts'
import type { ClusterState } from './state/cluster.ts'

interface AssignmentsParts {
  readonly state: Pick<ClusterState, 'assignmentOf'>
  readonly liveTasks: Pick<LiveTasks, 'put' | 'drop' | 'container'>
  readonly proposer: Proposer
  readonly deliveries: Pick<Deliveries, 'hold' | 'drop' | 'send'>
  readonly orders: Pick<AgentOrders, 'forget'>
  readonly frameworks: Pick<Frameworks, 'deliver'>
  readonly clock: Clock
  readonly log: Log
}

/** Which task is whose business: committed before the launch leaves the leader, forgotten when nobody wants to read of it. */
export class Assignments {
  readonly #parts: AssignmentsParts

  constructor(parts: AssignmentsParts) {
    this.#parts = parts
  }

  /** Resolves once the launch is sent, or its framework has been told why it is not. */
  async assign(group: TaskGroup, taskId: string, agentId: string, resources: Resources, signal: AbortSignal): Promise<void> {
    const { state, liveTasks, deliveries, frameworks, clock, log } = this.#parts
    const { frameworkId, role } = group
    const standing = state.assignmentOf(frameworkId, taskId)
    if (standing !== undefined && standing.ending === null) {
      log.warn({ frameworkId, taskId, attempt: standing.assignment.attempt }, 'task.launched_twice')
      const live = liveTasks.container(standing.assignment.containerId)
      if (live !== undefined) frameworks.deliver(frameworkId, { kind: 'status', status: live.status })
      return
    }
    const attempt = Math.max(standing?.assignment.attempt ?? 0, standing?.ending?.attempt ?? 0) + 1
    const containerId = newContainerId()
    const ids = { frameworkId, taskId, attempt, containerId, agentId }
    const status = masterStatus(ids, 'staging', 'unspecified_reason', '', clock.wallMs())
    const task: LiveTask = { ...ids, role, resources, status, lastNumber: 0, delivered: false, released: false }
    deliveries.hold(containerId, group)
    liveTasks.put(task)
    if (!(await this.#commit(task, group, signal))) return
    frameworks.deliver(frameworkId, { kind: 'status', status })
    deliveries.send(task)
  }

  /** Rejects with `Fault('conflict')` while the task has not ended. */
  async forget(frameworkId: string, taskId: string, signal: AbortSignal): Promise<void> {
    const { state, proposer, liveTasks, orders } = this.#parts
    const row = state.assignmentOf(frameworkId, taskId)
    if (row === undefined) return
    await proposer.propose({ forgetTask: { frameworkId, taskId } }, signal)
    const { agentId, containerId } = row.assignment
    liveTasks.drop(containerId)
    orders.forget(agentId, frameworkId, taskId)
  }

  async #commit(task: LiveTask, group: TaskGroup, signal: AbortSignal): Promise<boolean> {
    const { proposer, deliveries, liveTasks, frameworks, clock, log } = this.#parts
    const { frameworkId, taskId, attempt, containerId, agentId, role, resources } = task
    const ids = { frameworkId, taskId, attempt, containerId, agentId }
    try {
      await proposer.propose({ assignTask: { ...ids, specDigest: digestOf(group), leaseClass: '', role, resources } }, signal)
      return true
    } catch (e) {
      deliveries.drop(containerId)
      liveTasks.drop(containerId)
      if (!isFault(e)) throw e
      log.warn({ frameworkId, taskId, code: e.code, err: e.message }, 'task.not_assigned')
      const refused = masterStatus({ ...ids, attempt: attempt - 1 }, 'dropped', 'invalid_offers', e.message, clock.wallMs())
      frameworks.deliver(frameworkId, { kind: 'status', status: refused })
      return false
    }
  }
}
