import { createHash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { encodeMessage } from '../proto/codec.ts'
import type { Acceptance, Decline, KillPolicy, LaunchAnswer, Reason, TaskGroup, TaskState } from '../proto/gen/messages.ts'
import { newContainerId } from '../proto/ids.ts'
import { type Resources, subtractResources } from '../proto/resources.ts'
import { type AgentLink, type Agents, type LiveTask, taskKey } from './agents.ts'
import type { Allocation } from './allocation.ts'
import { assignedContainer } from './attempts.ts'
import type { Background } from './background.ts'
import type { Endings } from './endings.ts'
import { type Frameworks, masterStatus } from './frameworks.ts'
import { checkGroup } from './launch-check.ts'
import type { Offers, TakenOffers } from './offers.ts'
import type { Proposer } from './proposer.ts'
import type { Leadership } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'

interface LaunchesParts {
  readonly state: ClusterState
  readonly agents: Agents
  readonly offers: Offers
  readonly allocation: Pick<Allocation, 'refuse' | 'request'>
  readonly frameworks: Frameworks
  readonly endings: Endings
  readonly proposer: Proposer
  readonly leadership: Pick<Leadership, 'term'>
  readonly background: Background
  readonly clock: Clock
  readonly log: Log
}

interface LaunchesConfig {
  /** The agent's answer to a launch; it is sent a second time before the stage fails. */
  readonly deliveryMs: number
  /** From the agent's answer to the first `running`. The agent has deadlines of its own, this is the long stop behind them. */
  readonly startMs: number
  /** Frameworks whose tasks the agent may start again by itself. */
  readonly restarting: ReadonlySet<string>
}

const endOfRefused: Readonly<Partial<Record<Reason, TaskState>>> = {
  task_invalid: 'error',
  unsupported_request: 'error',
  resources_unknown: 'dropped',
  node_unhealthy: 'dropped',
  agent_restarted: 'dropped',
  agent_disconnected: 'dropped'
}

/** From an accepted offer to a task that runs: check, commit, send, and a deadline on each stage. */
export class Launches {
  readonly #parts: LaunchesParts
  readonly #config: LaunchesConfig
  /** Bodies of launches that no agent has confirmed: the log holds only their digest. */
  readonly #bodies = new Map<string, TaskGroup>()
  readonly #watches = new Map<string, AbortController>()
  readonly #locating = new Map<string, Set<() => void>>()

  constructor(parts: LaunchesParts, config: LaunchesConfig) {
    this.#parts = parts
    this.#config = config
    parts.endings.onEnded((status) => this.#settled(status.frameworkId, status.taskId, assignedContainer(status)))
  }

  /** Rejects with a Fault where no group was launched because the offers do not stand; a refused group comes back as a status. */
  async accept(acceptance: Acceptance, signal: AbortSignal): Promise<void> {
    const { frameworkId } = acceptance
    const taken = this.#parts.offers.take(frameworkId, acceptance.offerIds)
    let left = taken.resources
    const launching: Promise<void>[] = []
    for (const group of acceptance.groups) {
      const restarts = this.#config.restarting.has(frameworkId)
      const verdict = checkGroup(group, { frameworkId, role: taken.role, resources: left, restarts })
      if (verdict.kind === 'refused') {
        const taskId = group.tasks[0]?.taskId ?? ''
        const nothing = { frameworkId, taskId, attempt: 0, containerId: '', agentId: '' }
        const { state, reason, message } = verdict
        const status = masterStatus(nothing, state, reason, message, this.#parts.clock.wallMs())
        this.#parts.frameworks.deliver(frameworkId, { kind: 'status', status })
        continue
      }
      left = subtractResources(left, verdict.resources)
      launching.push(this.#launch(group, verdict.taskId, verdict.resources, taken, signal))
    }
    this.#parts.allocation.refuse({ frameworkId, role: taken.role, agentId: taken.agentId, resources: left }, acceptance.refuseMs)
    await Promise.all(launching)
  }

  decline(decline: Decline): void {
    for (const offer of this.#parts.offers.decline(decline.frameworkId, decline.offerIds)) {
      this.#parts.allocation.refuse(offer, decline.refuseMs)
    }
    this.#parts.allocation.request()
  }

  /** Asks the agent; where it is away, its scheduler asks again when it hears that the task is back. */
  kill(frameworkId: string, taskId: string, policy: KillPolicy): void {
    const task = this.#parts.agents.task(frameworkId, taskId)
    if (task === undefined || task.released) return
    const { term: epoch } = this.#parts.leadership
    this.#parts.log.info({ frameworkId, taskId, attempt: task.attempt }, 'task.kill_sent')
    this.#parts.agents.link(task.agentId)?.send('Kill', { epoch, frameworkId, taskId, attempt: task.attempt, policy })
  }

  /** Rejects with `Fault('conflict')` while the task has not ended. */
  async forget(frameworkId: string, taskId: string, signal: AbortSignal): Promise<void> {
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    if (row === undefined) return
    await this.#parts.proposer.propose({ forgetTask: { frameworkId, taskId } }, signal)
    const { agentId, containerId } = row.assignment
    this.#parts.agents.drop(containerId)
    this.#parts.agents.link(agentId)?.send('Forget', { epoch: this.#parts.leadership.term, frameworkId, taskId })
  }

  answered(link: AgentLink, answer: LaunchAnswer): void {
    const task = this.#parts.agents.task(answer.frameworkId, answer.taskId)
    if (task === undefined || task.agentId !== link.agentId || task.attempt !== answer.attempt || task.released) return
    if (answer.accepted) {
      this.delivered(task)
      return
    }
    const message = answer.message === '' ? 'the node refused the launch' : answer.message
    this.#end(task, endOfRefused[answer.reason] ?? 'failed', answer.reason, message, true)
  }

  /** The agent has the launch in its ledger. */
  delivered(task: LiveTask): void {
    task.delivered = true
    this.#bodies.delete(task.containerId)
    const { state, earlierAttempts } = task.status
    // Of a task that the agent starts again the agent alone knows when it will run.
    if (state === 'running' || earlierAttempts.length > 0 || task.released) this.#watches.get(task.containerId)?.abort()
    this.#wake(task.frameworkId, task.taskId)
  }

  holdsBody(containerId: string): boolean {
    return this.#bodies.has(containerId)
  }

  /** Sends a launch that the agent may not have got. Only for one whose body is held. */
  send(task: LiveTask): void {
    const group = this.#bodies.get(task.containerId)
    if (group === undefined) return
    const { state, leadership, agents, log } = this.#parts
    const { containerId, attempt } = task
    const launch = {
      epoch: leadership.term,
      clusterId: state.clusterId,
      group,
      attempt,
      containerId,
      specDigest: digestOf(group)
    }
    agents.link(task.agentId)?.send('Launch', launch)
    log.info({ frameworkId: task.frameworkId, taskId: task.taskId, attempt, agentId: task.agentId }, 'task.launch_sent')
  }

  /**
   * The agent that has, or had, a task, as soon as it is known to have it.
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
    const task = this.#parts.agents.task(frameworkId, taskId)
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    return task?.delivered || row?.ending ? row?.assignment.agentId : undefined
  }

  async #launch(group: TaskGroup, taskId: string, resources: Resources, taken: TakenOffers, signal: AbortSignal): Promise<void> {
    const { state, agents, proposer, frameworks, clock, log } = this.#parts
    const { frameworkId, role } = group
    const standing = state.assignmentOf(frameworkId, taskId)
    if (standing !== undefined && standing.ending === null) {
      log.warn({ frameworkId, taskId, attempt: standing.assignment.attempt }, 'task.launched_twice')
      const live = agents.container(standing.assignment.containerId)
      if (live !== undefined) frameworks.deliver(frameworkId, { kind: 'status', status: live.status })
      return
    }
    const attempt = Math.max(standing?.assignment.attempt ?? 0, standing?.ending?.attempt ?? 0) + 1
    const containerId = newContainerId()
    const ids = { frameworkId, taskId, attempt, containerId, agentId: taken.agentId }
    const status = masterStatus(ids, 'staging', 'unspecified_reason', '', clock.wallMs())
    const task: LiveTask = { ...ids, role, resources, status, lastNumber: 0, delivered: false, released: false }
    this.#bodies.set(containerId, group)
    agents.put(task)
    try {
      await proposer.propose({ assignTask: { ...ids, specDigest: digestOf(group), leaseClass: '', role, resources } }, signal)
    } catch (e) {
      this.#bodies.delete(containerId)
      agents.drop(containerId)
      if (!isFault(e)) throw e
      log.warn({ frameworkId, taskId, code: e.code, err: e.message }, 'task.not_assigned')
      const refused = masterStatus({ ...ids, attempt: attempt - 1 }, 'dropped', 'invalid_offers', e.message, clock.wallMs())
      frameworks.deliver(frameworkId, { kind: 'status', status: refused })
      return
    }
    frameworks.deliver(frameworkId, { kind: 'status', status })
    this.send(task)
    this.watch(task)
  }

  /** Holds a launch to its deadlines. */
  watch(task: LiveTask): void {
    this.#watches.get(task.containerId)?.abort()
    const watch = new AbortController()
    this.#watches.set(task.containerId, watch)
    this.#parts.background.run('launch.watch_failed', async (closing) => {
      try {
        await this.#hold(task, AbortSignal.any([watch.signal, closing]))
      } finally {
        if (this.#watches.get(task.containerId) === watch) this.#watches.delete(task.containerId)
      }
    })
  }

  async #hold(task: LiveTask, signal: AbortSignal): Promise<void> {
    const { clock, agents } = this.#parts
    const { deliveryMs, startMs } = this.#config
    for (let sent = 1; !task.delivered; sent += 1) {
      await clock.sleep(deliveryMs, signal)
      // An agent that is away is the business of its re-registration.
      if (task.delivered || agents.link(task.agentId) === undefined) break
      if (sent === 2) {
        this.#timeOut(task, 'lost', `delivery: the node did not answer the launch within ${(2 * deliveryMs) / 1000} s`)
        return
      }
      this.send(task)
    }
    await clock.sleep(startMs, signal)
    const isStarting = task.status.state === 'staging' || task.status.state === 'starting'
    if (!task.released && isStarting && agents.link(task.agentId) !== undefined) {
      this.#timeOut(task, 'failed', `start: the task did not run within ${startMs / 1000} s`)
    }
  }

  #timeOut(task: LiveTask, state: 'lost' | 'failed', message: string): void {
    this.kill(task.frameworkId, task.taskId, { signal: 'SIGKILL', graceMs: 0 })
    this.#end(task, state, 'stage_timeout', message, false)
  }

  #end(task: LiveTask, state: TaskState, reason: Reason, message: string, released: boolean): void {
    const status = masterStatus(task, state, reason, message, this.#parts.clock.wallMs())
    this.#parts.background.run('task.ending_not_committed', (signal) => this.#parts.endings.commit(status, released, signal))
  }

  #settled(frameworkId: string, taskId: string, containerId: string): void {
    this.#bodies.delete(containerId)
    this.#watches.get(containerId)?.abort()
    this.#wake(frameworkId, taskId)
  }

  #wake(frameworkId: string, taskId: string): void {
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

/** What the assignment commits instead of the body. */
const digestOf = (group: TaskGroup): string => createHash('sha256').update(encodeMessage('TaskGroup', group)).digest('hex')
