import { Fault } from '../base/fault.ts'
import type { NodeHealthReport, RegisterAgent } from '../proto/gen/messages.ts'
import type { AgentLink } from './link.ts'
import type { NodeChanges } from './node-changes.ts'
import type { ClusterState } from './state/cluster.ts'

interface Seat {
  readonly link: AgentLink
  readonly register: RegisterAgent
  health: NodeHealthReport | null
}

/** An agent that names more problems than this has its list cut. */
const mostProblems = 64

/** Who is connected: each agent has one seat. Soft state; what an absent agent said of itself is read from what was committed. */
export class Seats {
  readonly #state: Pick<ClusterState, 'agents'>
  readonly #changes: Pick<NodeChanges, 'touched'>
  readonly #seats = new Map<string, Seat>()

  constructor(state: Pick<ClusterState, 'agents'>, changes: Pick<NodeChanges, 'touched'>) {
    this.#state = state
    this.#changes = changes
  }

  /** Throws `Fault('conflict')` where another live connection has the same id. */
  attach(link: AgentLink, register: RegisterAgent, health: NodeHealthReport | null = null): void {
    if (this.#seats.has(link.agentId)) {
      throw new Fault('conflict', `an agent with the id ${link.agentId} is connected already; its directory may be in use twice`)
    }
    this.#seats.set(link.agentId, { link, register, health: bounded(health) })
    this.#changes.touched(link.agentId)
  }

  detach(link: AgentLink): boolean {
    if (this.#seats.get(link.agentId)?.link !== link) return false
    this.#seats.delete(link.agentId)
    this.#changes.touched(link.agentId)
    return true
  }

  /** What a node says of its health, as soon as it differs from what it said before. */
  heal(link: AgentLink, health: NodeHealthReport): void {
    const seat = this.#seats.get(link.agentId)
    if (seat?.link !== link) return
    seat.health = bounded(health)
    this.#changes.touched(link.agentId)
  }

  /** What the agent last said; null while it is away or has not looked yet. */
  health(agentId: string): NodeHealthReport | null {
    return this.#seats.get(agentId)?.health ?? null
  }

  /** Connected, and no check of it failed that endangers new tasks. */
  takesWork(agentId: string): boolean {
    return this.#seats.has(agentId) && this.health(agentId)?.refusesLaunches !== true
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
}

const bounded = (health: NodeHealthReport | null): NodeHealthReport | null =>
  health === null ? null : { ...health, problems: health.problems.slice(0, mostProblems) }
