import type { AgentCondition, NodeHealthReport, RegisterAgent } from '../proto/gen/messages.ts'
import { containsResources, type Resources, subtractResources } from '../proto/resources.ts'
import type { AgentLink } from './link.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { Seats } from './seats.ts'
import type { AgentRow, ClusterState } from './state/cluster.ts'

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

interface NodesParts {
  readonly state: Pick<ClusterState, 'agents'>
  readonly seats: Pick<Seats, 'link' | 'registration' | 'health'>
  readonly tasks: Pick<LiveTasks, 'tasksOn' | 'usedOn'>
}

/** The nodes as people and the allocator see them: what was committed, who is connected and what runs there, put together. */
export class Nodes {
  readonly #parts: NodesParts

  constructor(parts: NodesParts) {
    this.#parts = parts
  }

  nodes(): readonly NodeView[] {
    return [...this.#parts.state.agents.values()].map((row) => this.#view(row))
  }

  node(agentId: string): NodeView | undefined {
    const row = this.#parts.state.agents.get(agentId)
    return row === undefined ? undefined : this.#view(row)
  }

  link(agentId: string): AgentLink | undefined {
    return this.#parts.seats.link(agentId)
  }

  /** Nothing where the agent is away, or where it has shrunk below what runs on it. */
  freeOn(agentId: string): Resources {
    const total = this.#present(agentId)?.resources ?? []
    const used = this.#parts.tasks.usedOn(agentId)
    return containsResources(total, used) ? subtractResources(total, used) : []
  }

  /** More runs there than the node now has. */
  isOverCommitted(agentId: string): boolean {
    const present = this.#present(agentId)
    return present !== undefined && !containsResources(present.resources, this.#parts.tasks.usedOn(agentId))
  }

  #present(agentId: string): RegisterAgent | undefined {
    const { seats } = this.#parts
    return seats.link(agentId) === undefined ? undefined : seats.registration(agentId)
  }

  #view(row: AgentRow): NodeView {
    const { seats, tasks } = this.#parts
    const nodeId = row.agent.agentId
    const about = seats.registration(nodeId) ?? row.agent
    return {
      nodeId,
      hostname: about.hostname,
      condition: row.condition,
      version: about.version,
      bootId: about.bootId,
      resources: about.resources,
      used: tasks.usedOn(nodeId),
      overCommitted: this.isOverCommitted(nodeId),
      attributes: about.attributes,
      capabilities: about.capabilities,
      registeredAtMs: row.registeredAtMs,
      connected: seats.link(nodeId) !== undefined,
      tasks: [...tasks.tasksOn(nodeId)].filter((t) => !t.released).length,
      health: seats.health(nodeId)
    }
  }
}
