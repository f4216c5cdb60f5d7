import { Fault } from '../base/fault.ts'
import type { Init } from '../proto/codec.ts'
import type { AgentCondition, Messages, NodeHealthReport, RegisterAgent, TaskStatus } from '../proto/gen/messages.ts'
import { addResources, containsResources, type Resources, subtractResources } from '../proto/resources.ts'
import type { WireName } from '../proto/wire.ts'
import type { AgentRow, ClusterState } from './state/cluster.ts'

/** The live connection of one agent, as the rooms behind the door see it. */
export interface AgentLink {
  readonly agentId: string
  /** Never waits. A link whose peer does not read is cut, not buffered without end. */
  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void
  /** Asks one of the agent's local routes. Rejects with a Fault where the link is gone, full or the agent does not answer. */
  open(request: RelayRequest, signal: AbortSignal): Promise<RelayResponse>
  close(reason: string): void
}

export interface RelayRequest {
  readonly method: string
  /** Path and query of the agent's local API. */
  readonly path: string
  /** Small bodies travel with the request, a stream follows it. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>
}

export interface RelayResponse {
  readonly status: number
  readonly contentType: string
  /** Leaving the loop early tells the agent to stop. */
  readonly body: AsyncIterable<Uint8Array>
}

/** What runs, or is about to run, on an agent. Soft: a new leader rebuilds it from the agents. */
export interface LiveTask {
  readonly frameworkId: string
  readonly taskId: string
  readonly attempt: number
  readonly containerId: string
  readonly agentId: string
  readonly role: string
  readonly resources: Resources
  /** The latest that is known, made by the agent or by the master. */
  status: TaskStatus
  /** The highest number of the agent's statuses that was applied to this task. */
  lastNumber: number
  /** The agent is known to have the launch in its ledger. */
  delivered: boolean
  /** Ended on the host: its resources are free again. */
  released: boolean
}

export interface NodeView {
  readonly nodeId: string
  readonly hostname: string
  readonly condition: AgentCondition
  readonly version: string
  readonly bootId: string
  readonly resources: Resources
  readonly used: Resources
  /** More is used than there is: the node has shrunk under its tasks and gets no new ones. */
  readonly overCommitted: boolean
  readonly attributes: RegisterAgent['attributes']
  readonly capabilities: RegisterAgent['capabilities']
  readonly registeredAtMs: number
  readonly connected: boolean
  readonly tasks: number
  /** What the agent last said of it; null while it is away or has not looked yet. */
  readonly health: NodeHealthReport | null
}

interface Seat {
  readonly link: AgentLink
  readonly register: RegisterAgent
  health: NodeHealthReport | null
}

/** An agent that names more problems than this has its list cut. */
const mostProblems = 64

/** Soft state of the agents: who is connected, what runs there and what is free. */
export class Agents {
  readonly #state: Pick<ClusterState, 'agents'>
  readonly #seats = new Map<string, Seat>()
  readonly #tasks = new Map<string, LiveTask>()
  readonly #byAgent = new Map<string, Set<LiveTask>>()
  readonly #latest = new Map<string, LiveTask>()
  readonly #watchers = new Set<(agentId: string) => void>()

  constructor(state: Pick<ClusterState, 'agents'>) {
    this.#state = state
  }

  onChange(watcher: (agentId: string) => void): void {
    this.#watchers.add(watcher)
  }

  touched(agentId: string): void {
    for (const watcher of this.#watchers) watcher(agentId)
  }

  /** Throws `Fault('conflict')` where another live connection has the same id. */
  attach(link: AgentLink, register: RegisterAgent, health: NodeHealthReport | null = null): void {
    if (this.#seats.has(link.agentId)) {
      throw new Fault('conflict', `an agent with the id ${link.agentId} is connected already; its directory may be in use twice`)
    }
    this.#seats.set(link.agentId, { link, register, health: bounded(health) })
    this.touched(link.agentId)
  }

  /** What a node says of its health, as soon as it differs from what it said before. */
  heal(link: AgentLink, health: NodeHealthReport): void {
    const seat = this.#seats.get(link.agentId)
    if (seat?.link !== link) return
    seat.health = bounded(health)
    this.touched(link.agentId)
  }

  /** Connected, and no check of it failed that endangers new tasks. */
  takesWork(agentId: string): boolean {
    const seat = this.#seats.get(agentId)
    return seat !== undefined && seat.health?.refusesLaunches !== true
  }

  detach(link: AgentLink): boolean {
    if (this.#seats.get(link.agentId)?.link !== link) return false
    this.#seats.delete(link.agentId)
    this.touched(link.agentId)
    return true
  }

  link(agentId: string): AgentLink | undefined {
    return this.#seats.get(agentId)?.link
  }

  connected(): readonly string[] {
    return [...this.#seats.keys()]
  }

  /** What the agent said of itself when it registered, else what was committed before. */
  registration(agentId: string): RegisterAgent | undefined {
    return this.#seats.get(agentId)?.register ?? this.#state.agents.get(agentId)?.agent
  }

  put(task: LiveTask): void {
    this.drop(task.containerId)
    this.#tasks.set(task.containerId, task)
    const key = taskKey(task.frameworkId, task.taskId)
    const latest = this.#latest.get(key)
    if (latest === undefined || latest.attempt <= task.attempt) this.#latest.set(key, task)
    const here = this.#byAgent.get(task.agentId) ?? new Set()
    this.#byAgent.set(task.agentId, here.add(task))
    this.touched(task.agentId)
  }

  drop(containerId: string): void {
    const task = this.#tasks.get(containerId)
    if (task === undefined) return
    this.#tasks.delete(containerId)
    const here = this.#byAgent.get(task.agentId)
    here?.delete(task)
    if (here?.size === 0) this.#byAgent.delete(task.agentId)
    const key = taskKey(task.frameworkId, task.taskId)
    if (this.#latest.get(key) === task) this.#latest.delete(key)
    this.touched(task.agentId)
  }

  container(containerId: string): LiveTask | undefined {
    return this.#tasks.get(containerId)
  }

  /** The latest attempt. */
  task(frameworkId: string, taskId: string): LiveTask | undefined {
    return this.#latest.get(taskKey(frameworkId, taskId))
  }

  tasksOn(agentId: string): Iterable<LiveTask> {
    return this.#byAgent.get(agentId) ?? []
  }

  tasksOf(frameworkId: string): readonly LiveTask[] {
    return [...this.#latest.values()].filter((t) => t.frameworkId === frameworkId)
  }

  usedOn(agentId: string): Resources {
    let used: Resources = []
    for (const task of this.tasksOn(agentId)) if (!task.released) used = addResources(used, task.resources)
    return used
  }

  /** Nothing where the agent is away, or where it has shrunk below what runs on it. */
  freeOn(agentId: string): Resources {
    const total = this.#seats.get(agentId)?.register.resources ?? []
    const used = this.usedOn(agentId)
    return containsResources(total, used) ? subtractResources(total, used) : []
  }

  /** More runs there than the node now has. */
  isOverCommitted(agentId: string): boolean {
    const seat = this.#seats.get(agentId)
    return seat !== undefined && !containsResources(seat.register.resources, this.usedOn(agentId))
  }

  nodes(): readonly NodeView[] {
    return [...this.#state.agents.values()].map((row) => this.#node(row))
  }

  node(agentId: string): NodeView | undefined {
    const row = this.#state.agents.get(agentId)
    return row === undefined ? undefined : this.#node(row)
  }

  #node(row: AgentRow): NodeView {
    const nodeId = row.agent.agentId
    const about = this.registration(nodeId) ?? row.agent
    const tasks = [...this.tasksOn(nodeId)].filter((t) => !t.released)
    return {
      nodeId,
      hostname: about.hostname,
      condition: row.condition,
      version: about.version,
      bootId: about.bootId,
      resources: about.resources,
      used: this.usedOn(nodeId),
      overCommitted: this.isOverCommitted(nodeId),
      attributes: about.attributes,
      capabilities: about.capabilities,
      registeredAtMs: row.registeredAtMs,
      connected: this.#seats.has(nodeId),
      tasks: tasks.length,
      health: this.#seats.get(nodeId)?.health ?? null
    }
  }
}

const bounded = (health: NodeHealthReport | null): NodeHealthReport | null =>
  health === null ? null : { ...health, problems: health.problems.slice(0, mostProblems) }

/** Ids hold no slash. */
export const taskKey = (frameworkId: string, taskId: string): string => `${frameworkId}/${taskId}`
