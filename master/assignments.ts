import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { PodLaunch, TaskGroup } from '../proto/gen/messages.ts'
import { newContainerId } from '../proto/ids.ts'
import { type AgentOrders, digestOf } from './agent-orders.ts'
import type { Deliveries } from './deliveries.ts'
import { type Frameworks, masterStatus } from './frameworks.ts'
import type { TaskShare } from './launch-check.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { Proposer } from './proposer.ts'
import type { ClusterState } from './state/cluster.ts'
import { holdsLease } from './state/leases.ts'

interface AssignmentsParts {
  readonly state: Pick<ClusterState, 'assignmentOf'>
  readonly liveTasks: Pick<LiveTasks, 'put' | 'drop' | 'container'>
  readonly proposer: Proposer
  readonly deliveries: Pick<Deliveries, 'hold' | 'drop' | 'send' | 'giveUp'>
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

  /** Resolves once the launch is sent, or its framework has been told why it is not: of a pod all tasks are assigned, or none is. */
  async assign(group: TaskGroup, agentId: string, shares: readonly TaskShare[], signal: AbortSignal): Promise<void> {
    const { liveTasks, deliveries, frameworks } = this.#parts
    const { frameworkId } = group
    if (this.#stands(frameworkId, shares)) return
    const tasks = shares.map((share) => this.#liveTask(group, agentId, share))
    const body = { group, pod: tasks.length === 1 ? null : podOf(tasks) }
    for (const task of tasks) {
      deliveries.hold(task.containerId, body)
      liveTasks.put(task)
    }
    const committed = await Promise.all(tasks.map((task) => this.#commit(task, group, signal)))
    const assigned = tasks.filter((_, i) => committed[i])
    if (assigned.length < tasks.length) {
      for (const task of assigned) deliveries.giveUp(task, 'another task of its pod could not be assigned')
      return
    }
    for (const { status } of tasks) frameworks.deliver(frameworkId, { kind: 'status', status })
    for (const task of tasks) deliveries.send(task)
  }

  /** A task of it has an assignment already: whoever launches it again is told how it is. */
  #stands(frameworkId: string, shares: readonly TaskShare[]): boolean {
    const { state, liveTasks, frameworks, log } = this.#parts
    const standing = shares.flatMap(({ taskId }) => {
      const row = state.assignmentOf(frameworkId, taskId)
      return row === undefined || row.ending !== null ? [] : [row.assignment]
    })
    for (const { taskId, attempt, containerId } of standing) {
      log.warn({ frameworkId, taskId, attempt }, 'task.launched_twice')
      const live = liveTasks.container(containerId)
      if (live !== undefined) frameworks.deliver(frameworkId, { kind: 'status', status: live.status })
    }
    return standing.length > 0
  }

  #liveTask({ frameworkId, role }: TaskGroup, agentId: string, { taskId, resources }: TaskShare): LiveTask {
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    const attempt = Math.max(row?.assignment.attempt ?? 0, row?.ending?.attempt ?? 0) + 1
    const ids = { frameworkId, taskId, attempt, containerId: newContainerId(), agentId }
    const status = masterStatus(ids, 'staging', 'unspecified_reason', '', this.#parts.clock.wallMs())
    return { ...ids, role, resources, status, lastNumber: 0, delivered: false, released: false }
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
      const spec = { specDigest: digestOf(group), role, resources, leaseLengthMs: leaseLengthOf(group, taskId) }
      await proposer.propose({ assignTask: { ...ids, ...spec } }, signal)
      return true
    } catch (e) {
      deliveries.drop(containerId)
      liveTasks.drop(containerId)
      if (!isFault(e)) throw e
      log.warn({ frameworkId, taskId, code: e.code, err: e.message }, 'task.not_assigned')
      const held = this.#parts.state.assignmentOf(frameworkId, taskId)
      const reason = held !== undefined && holdsLease(held) ? 'lease_refused' : 'invalid_offers'
      const refused = masterStatus({ ...ids, attempt: attempt - 1 }, 'dropped', reason, e.message, clock.wallMs())
      frameworks.deliver(frameworkId, { kind: 'status', status: refused })
      return false
    }
  }
}

/** Milliseconds; 0 where it asks for none. */
export const leaseLengthOf = ({ tasks }: TaskGroup, taskId: string): number =>
  tasks.find((task) => task.taskId === taskId)?.lease?.lengthMs ?? 0

/** The sandbox container is the node's own business, but for its id: so every launch of the pod names the same one. */
const podOf = (tasks: readonly LiveTask[]): PodLaunch => ({
  sandboxId: newContainerId(),
  members: tasks.map(({ containerId, attempt }) => ({ containerId, attempt }))
})
