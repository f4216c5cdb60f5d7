import type { Clock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { Reason, Register, RegisterAgent, TaskReport, TaskState } from '../proto/gen/messages.ts'
import { containerId, frameworkId, nodeId, taskId } from '../proto/ids.ts'
import { checkResource } from '../proto/resources.ts'
import { canMove, isTerminal } from '../proto/task-state.ts'
import type { Absences } from './absences.ts'
import { taskStatusOf } from './attempts.ts'
import type { Background } from './background.ts'
import type { Deliveries } from './deliveries.ts'
import type { Endings } from './endings.ts'
import { type Frameworks, masterStatus, unheardStatus } from './frameworks.ts'
import type { AgentLink } from './link.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { Nodes } from './nodes.ts'
import type { Proposer } from './proposer.ts'
import type { Rebuilding } from './rebuilding.ts'
import { reconcile, type Step } from './reconciliation.ts'
import type { Leadership } from './replica.ts'
import { askSeat } from './seat-check.ts'
import type { Seats } from './seats.ts'
import type { ClusterState } from './state/cluster.ts'
import type { Statuses } from './statuses.ts'

interface RegistrationParts {
  readonly state: ClusterState
  readonly absences: Pick<Absences, 'left' | 'came'>
  readonly seats: Seats
  readonly liveTasks: LiveTasks
  readonly nodes: Pick<Nodes, 'isOverCommitted'>
  readonly frameworks: Frameworks
  readonly deliveries: Pick<Deliveries, 'holds' | 'send' | 'delivered'>
  readonly statuses: Statuses
  readonly endings: Endings
  readonly proposer: Proposer
  readonly leadership: Pick<Leadership, 'term'>
  /** Only after every log was lost. */
  readonly rebuilding: Rebuilding | undefined
  readonly background: Background
  readonly clock: Clock
  readonly log: Log
  /** Where agents reach the masters. */
  readonly agentAddresses: () => readonly string[]
}

interface RegistrationConfig {
  /** The connection of an agent that is silent for longer is closed. */
  readonly silenceMs: number
}

/** An agent of which nothing is heard for so many times the silence that closes its connection is unreachable. */
const awayFactor = 1.5

/** Agents that come, come back and stay away. */
export class Registration implements Service {
  readonly name = 'registration'
  readonly #parts: RegistrationParts
  readonly #config: RegistrationConfig
  readonly #registering = new Set<string>()
  readonly #incarnations = new WeakMap<AgentLink, string>()
  /** Links in whose end somebody is interested. */
  readonly #leaving = new Map<AgentLink, () => void>()

  constructor(parts: RegistrationParts, config: RegistrationConfig) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    const { state, liveTasks, clock } = this.#parts
    for (const { assignment, ending } of state.assignments.values()) {
      if (ending !== null) continue
      const status = unheardStatus(assignment, clock.wallMs())
      liveTasks.put({ ...assignment, status, lastNumber: 0, delivered: false, released: false })
    }
  }

  async stop(): Promise<void> {
    await this.#parts.background.stop()
  }

  /** Throws `Fault('conflict')` while another live agent has the same id, `invalid` for one that makes no sense. */
  async register(link: AgentLink, register: Register, signal: AbortSignal): Promise<void> {
    const { seats, nodes, liveTasks, absences, log, leadership, agentAddresses } = this.#parts
    const { agentId } = link
    const row = checkRegister(agentId, register)
    if (this.#registering.has(agentId)) throw duplicate(row, undefined)
    this.#registering.add(agentId)
    let wasGone: boolean
    try {
      await this.#freeSeat(row, register.incarnation, signal)
      this.#tellChanges(row)
      wasGone = await this.#commit(row, signal)
    } finally {
      this.#registering.delete(agentId)
    }
    await this.#parts.rebuilding?.take(agentId, register.tasks, signal)
    signal.throwIfAborted()
    const steps = this.#compare(agentId, register.tasks).filter((step) => !this.#isLeft(step))
    for (const step of steps) this.#count(agentId, step)
    seats.attach(link, row, register.health)
    absences.came(agentId)
    this.#incarnations.set(link, register.incarnation)
    link.send('Registered', { agentId, epoch: leadership.term, masters: agentAddresses(), wasGone })
    for (const step of steps) this.#take(link, step)
    log.info({ agentId, hostname: row.hostname, tasks: register.tasks.length, wasGone }, 'agent.registered')
    if (nodes.isOverCommitted(agentId)) {
      // Its tasks go on, and nothing new is offered until they fit (docs/decisions/0010).
      log.warn({ agentId, resources: row.resources, used: liveTasks.usedOn(agentId) }, 'agent.over_committed')
    }
  }

  /** Throws `Fault('conflict')` where another living agent sits there. */
  async #freeSeat(row: RegisterAgent, incarnation: string, signal: AbortSignal): Promise<void> {
    const { seats, clock } = this.#parts
    const seated = seats.link(row.agentId)
    if (seated === undefined) return
    if (incarnation !== '' && this.#incarnations.get(seated) === incarnation) {
      seated.close('the agent came back by another connection')
      return this.left(seated, 'the agent came back by another connection')
    }
    const over = new AbortController()
    const left = new Promise<void>((resolve) => this.#leaving.set(seated, resolve))
    // One beat more than a silent link gets.
    const silence = clock.sleep(this.#config.silenceMs * 1.2, AbortSignal.any([signal, over.signal]))
    silence.catch(() => undefined) // decided sooner
    try {
      const verdict = await askSeat({ seated, left, silence }, signal)
      if (verdict === 'taken') throw duplicate(row, seats.registration(row.agentId))
    } finally {
      over.abort()
      this.#leaving.delete(seated)
    }
  }

  /** What a node says of itself is taken as it says it; that it changed under running tasks is told. */
  #tellChanges(row: RegisterAgent): void {
    const before = this.#parts.state.agents.get(row.agentId)?.agent
    if (before === undefined) return
    const fields = ['hostname', 'resources', 'attributes', 'capabilities', 'bootId', 'version'] as const
    const changed = fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(row[field]))
    if (changed.length > 0) this.#parts.log.info({ agentId: row.agentId, changed }, 'agent.changed')
  }

  left(link: AgentLink, why: string): void {
    if (!this.#parts.seats.detach(link)) return
    this.#leaving.get(link)?.()
    this.#parts.log.warn({ agentId: link.agentId, why }, 'agent.disconnected')
    this.#parts.absences.left(link.agentId, Math.max(0, awayFactor * this.#config.silenceMs - link.silentMs))
  }

  /** Resolves with whether it had been given up. */
  async #commit(row: RegisterAgent, signal: AbortSignal): Promise<boolean> {
    const { state, proposer } = this.#parts
    const before = state.agents.get(row.agentId)
    const wasGone = before?.condition === 'agent_gone'
    if (before === undefined || wasGone || JSON.stringify(before.agent) !== JSON.stringify(row)) {
      await proposer.propose({ registerAgent: row }, signal)
    }
    if (state.agents.get(row.agentId)?.condition !== 'active') {
      await proposer.propose({ setAgentCondition: { agentId: row.agentId, condition: 'active' } }, signal)
    }
    return wasGone
  }

  #compare(agentId: string, reports: readonly TaskReport[]): readonly Step[] {
    const { state, liveTasks, deliveries } = this.#parts
    const expected = [...state.assignments.on(agentId)].map(({ assignment, ending }) => ({
      ...assignment,
      ended: ending !== null,
      delivered: liveTasks.container(assignment.containerId)?.delivered ?? false,
      held: deliveries.holds(assignment.containerId)
    }))
    return reconcile(expected, reports, (f, t) => state.assignmentOf(f, t) !== undefined)
  }

  #isLeft(step: Step): boolean {
    const { rebuilding } = this.#parts
    return rebuilding !== undefined && (step.kind === 'kill' || step.kind === 'forget') && rebuilding.leaves(step.report)
  }

  /** Before anything of this agent is offered: what runs there is not free. */
  #count(agentId: string, step: Step): void {
    if (step.kind !== 'adopt' && step.kind !== 'kill') return
    const { liveTasks } = this.#parts
    const { report } = step
    if (liveTasks.container(report.containerId) !== undefined) {
      // The node's ledger is the truth about what a running task has.
      if (!isTerminalReport(report)) liveTasks.resize(report.containerId, report.resources)
      return
    }
    const task = { ...report, agentId }
    const status = masterStatus(task, report.state, 'reconciliation', '', this.#parts.clock.wallMs())
    liveTasks.put({ ...task, status, lastNumber: 0, delivered: true, released: false })
  }

  #take(link: AgentLink, step: Step): void {
    const { liveTasks, deliveries, leadership } = this.#parts
    const epoch = leadership.term
    switch (step.kind) {
      case 'keep':
        return
      case 'adopt':
        this.#adopt(link, step.report)
        return
      case 'kill': {
        const { frameworkId, taskId, attempt } = step.report
        link.send('Kill', { epoch, frameworkId, taskId, attempt, policy: { signal: 'SIGTERM', graceMs: 3_000 } })
        return
      }
      case 'forget':
        link.send('Forget', { epoch, frameworkId: step.report.frameworkId, taskId: step.report.taskId })
        return
      case 'resend': {
        const task = liveTasks.container(step.containerId)
        if (task !== undefined) deliveries.send(task)
        return
      }
      case 'drop':
        this.#end(step.containerId, 'dropped', 'reconciliation', 'the launch never reached the node')
        return
      case 'gone':
        this.#end(step.containerId, 'gone', 'agent_unknown', 'the node no longer knows the task')
        return
    }
  }

  #adopt(link: AgentLink, report: TaskReport): void {
    const { liveTasks, frameworks, deliveries, statuses, background, clock } = this.#parts
    const task = liveTasks.container(report.containerId)
    if (task === undefined || report.state === 'unspecified_state') return
    const status = report.latest
      ? taskStatusOf(report.latest)
      : masterStatus(task, report.state, 'reconciliation', '', clock.wallMs())
    const known = { ...status, state: report.state, agentId: link.agentId }
    if (isTerminal(report.state)) {
      background.run('task.ending_not_committed', (signal) => statuses.ended(known, signal))
      return
    }
    task.lastNumber = Math.max(task.lastNumber, known.number)
    const { state: from } = task.status
    if (from === report.state || from === 'unspecified_state' || canMove(from, report.state)) task.status = known
    frameworks.deliver(task.frameworkId, { kind: 'status', status: task.status })
    deliveries.delivered(task)
  }

  #end(containerId: string, state: TaskState, reason: Reason, message: string): void {
    const { liveTasks, endings, background, clock } = this.#parts
    const task = liveTasks.container(containerId)
    if (task === undefined) return
    const status = masterStatus(task, state, reason, message, clock.wallMs())
    background.run('task.ending_not_committed', (signal) => endings.commit(status, true, signal))
  }
}

const isTerminalReport = ({ state }: TaskReport): boolean => state !== 'unspecified_state' && isTerminal(state)

function duplicate(row: RegisterAgent, seated: RegisterAgent | undefined): Fault {
  const where = seated === undefined ? 'another connection' : `host ${seated.hostname}`
  return new Fault(
    'conflict',
    `an agent with the id ${row.agentId} is connected already, from ${where}, and lives: if ${row.hostname} is a clone, stop its ` +
      'agent and give it a state directory of its own',
    { duplicate: true }
  )
}

function checkRegister(agentId: string, register: Register): RegisterAgent {
  if (register.agentId !== agentId) throw new Fault('invalid', 'the agent registers under another id than it greeted with')
  nodeId(agentId)
  for (const r of register.resources) checkResource(r)
  for (const report of register.tasks) checkReport(report)
  if (register.hostname === '') throw new Fault('invalid', 'an agent needs a host name')
  const { hostname, resources, attributes, capabilities, version, bootId } = register
  return { agentId, hostname, resources, attributes, capabilities, version, bootId }
}

/** Throws `Fault('invalid')`: the rooms behind count with what is in it. */
function checkReport(report: TaskReport): void {
  frameworkId(report.frameworkId)
  taskId(report.taskId)
  containerId(report.containerId)
  for (const r of report.resources) checkResource(r)
}
