import type { Clock } from '../base/clock.ts'
import type { LaunchAnswer, Reason, TaskState } from '../proto/gen/messages.ts'
import type { AgentOrders, LaunchBody } from './agent-orders.ts'
import { assignedContainer } from './attempts.ts'
import type { Background } from './background.ts'
import type { Endings } from './endings.ts'
import { masterStatus } from './frameworks.ts'
import type { AgentLink } from './link.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'

interface DeliveriesParts {
  readonly orders: AgentOrders
  readonly liveTasks: Pick<LiveTasks, 'task'>
  readonly endings: Pick<Endings, 'commit' | 'onEnded'>
  readonly background: Background
  readonly clock: Clock
}

export interface DeliveriesConfig {
  /** The agent's answer to a launch; it is sent a second time before the stage fails. */
  readonly deliveryMs: number
  /** From the agent's answer to the first `running`. The agent has deadlines of its own, this is the long stop behind them. */
  readonly startMs: number
}

const endOfRefused: Readonly<Partial<Record<Reason, TaskState>>> = {
  task_invalid: 'error',
  unsupported_request: 'error',
  policy_refused: 'error',
  resources_unknown: 'dropped',
  node_unhealthy: 'dropped',
  agent_restarted: 'dropped',
  agent_disconnected: 'dropped'
}

/** From a committed assignment to a task that runs: the body is kept until the agent has it, and each stage has a deadline. */
export class Deliveries {
  readonly #parts: DeliveriesParts
  readonly #config: DeliveriesConfig
  /** Bodies of launches that no agent has confirmed: the log holds only their digest. */
  readonly #bodies = new Map<string, LaunchBody>()
  readonly #watches = new Map<string, AbortController>()
  readonly #watchers = new Set<(task: LiveTask) => void>()

  constructor(parts: DeliveriesParts, config: DeliveriesConfig) {
    this.#parts = parts
    this.#config = config
    parts.endings.onEnded((status) => {
      this.drop(assignedContainer(status))
      this.#watches.get(assignedContainer(status))?.abort()
    })
  }

  onDelivered(watcher: (task: LiveTask) => void): void {
    this.#watchers.add(watcher)
  }

  hold(containerId: string, body: LaunchBody): void {
    this.#bodies.set(containerId, body)
  }

  drop(containerId: string): void {
    this.#bodies.delete(containerId)
  }

  holds(containerId: string): boolean {
    return this.#bodies.has(containerId)
  }

  /** Sends a launch that the agent may not have got, and holds it to its deadlines. Only for one whose body is held. */
  send(task: LiveTask): void {
    this.#send(task)
    this.#watches.get(task.containerId)?.abort()
    const watch = new AbortController()
    const isAlone = this.#bodies.get(task.containerId)?.pod === null
    this.#watches.set(task.containerId, watch)
    this.#parts.background.run('launch.watch_failed', async (closing) => {
      try {
        await this.#watch(task, isAlone, AbortSignal.any([watch.signal, closing]))
      } finally {
        if (this.#watches.get(task.containerId) === watch) this.#watches.delete(task.containerId)
      }
    })
  }

  /** Never sent, and never to be. */
  giveUp(task: LiveTask, why: string): void {
    this.#end(task, 'dropped', 'invalid_offers', why, true)
  }

  answered(link: AgentLink, answer: LaunchAnswer): void {
    const task = this.#parts.liveTasks.task(answer.frameworkId, answer.taskId)
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
    for (const watcher of this.#watchers) watcher(task)
  }

  #send(task: LiveTask): void {
    const body = this.#bodies.get(task.containerId)
    if (body !== undefined) this.#parts.orders.launch(task, body)
  }

  /** How long a task of a pod waits for others of it nobody can tell: only what runs alone has to begin in time. */
  async #watch(task: LiveTask, isAlone: boolean, signal: AbortSignal): Promise<void> {
    const { clock, orders } = this.#parts
    const { deliveryMs, startMs } = this.#config
    for (let sent = 1; !task.delivered; sent += 1) {
      await clock.sleep(deliveryMs, signal)
      // An agent that is away is the business of its re-registration.
      if (task.delivered || !orders.reaches(task.agentId)) break
      if (sent === 2) {
        this.#timeOut(task, 'lost', `delivery: the node did not answer the launch within ${(2 * deliveryMs) / 1000} s`)
        return
      }
      this.#send(task)
    }
    if (!isAlone) return
    await clock.sleep(startMs, signal)
    const isStarting = task.status.state === 'staging' || task.status.state === 'starting'
    if (!task.released && isStarting && orders.reaches(task.agentId)) {
      this.#timeOut(task, 'failed', `start: the task did not run within ${startMs / 1000} s`)
    }
  }

  #timeOut(task: LiveTask, state: 'lost' | 'failed', message: string): void {
    this.#parts.orders.kill(task.frameworkId, task.taskId, { signal: 'SIGKILL', graceMs: 0 })
    this.#end(task, state, 'stage_timeout', message, false)
  }

  #end(task: LiveTask, state: TaskState, reason: Reason, message: string, released: boolean): void {
    const { background, clock, endings } = this.#parts
    const status = masterStatus(task, state, reason, message, clock.wallMs())
    background.run('task.ending_not_committed', (signal) => endings.commit(status, released, signal))
  }
}
