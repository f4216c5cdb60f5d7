import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import { absenceDefaults } from './absence-book.ts'
import { Absences } from './absences.ts'
import { AgentOrders } from './agent-orders.ts'
import { Allocation } from './allocation.ts'
import type { AgentDesk } from './api/agent-session.ts'
import { Assignments } from './assignments.ts'
import { Background } from './background.ts'
import { Deliveries } from './deliveries.ts'
import { Endings } from './endings.ts'
import { Feed } from './feed.ts'
import { Frameworks, inProcessLink } from './frameworks.ts'
import { Launches } from './launches.ts'
import { Grantor } from './leases/grantor.ts'
import { leaseFacts } from './leases/lease-facts.ts'
import { LiveTasks } from './live-tasks.ts'
import { NodeChanges } from './node-changes.ts'
import { Nodes } from './nodes.ts'
import { Offers } from './offers.ts'
import { Proposer } from './proposer.ts'
import { Rebuilding } from './rebuilding.ts'
import { Registration } from './registration.ts'
import { type MastersFacts, Removals } from './removals.ts'
import type { Replica } from './replica.ts'
import { Resizing } from './resizing.ts'
import { Seats } from './seats.ts'
import type { ClusterState } from './state/cluster.ts'
import { Statuses } from './statuses.ts'
import { Tenants } from './tenants.ts'
import { Whereabouts } from './whereabouts.ts'

interface CoreParts {
  /** The masters. */
  readonly members: () => Promise<MastersFacts>
  readonly replica: Replica & { readonly state: ClusterState }
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Where agents reach the masters of the cluster, the leader first; empty where there is one alone. */
  readonly agentAddresses?: () => readonly string[]
  /** Where tasks are rebuilt from what agents report: tells their scheduler (master/rebuilding.ts). */
  readonly rebuild?: ConstructorParameters<typeof Rebuilding>[0]['wish'] | undefined
}

export interface CoreConfig {
  readonly heartbeatMs: number
  /** A connection without any sign of life for so many heartbeats is closed. */
  readonly missedBeats: number
  /** What agents get to come back after the master's own start. */
  readonly returnMs: number
  /** How long an agent may be unreachable before the cluster gives its tasks up; 0: for ever. */
  readonly goneAfterMs: number
  readonly offerTimeoutMs: number
  readonly allocationBatchMs: number
  readonly deliveryMs: number
  readonly startMs: number
  /** Frameworks whose tasks the agent may start again by itself. */
  readonly restarting: readonly string[]
}

export const coreDefaults: CoreConfig = {
  heartbeatMs: 1_000,
  missedBeats: 3,
  returnMs: 15_000,
  goneAfterMs: 0,
  offerTimeoutMs: 30_000,
  allocationBatchMs: 1_000,
  deliveryMs: 10_000,
  startMs: 900_000,
  restarting: []
}

/** The rooms between the replicated state and the doors. */
export function composeCore(parts: CoreParts, config: CoreConfig) {
  const { replica, clock, random, log } = parts
  const { state, leadership } = replica
  const background = new Background(log)
  const proposer = new Proposer({ replica, clock }, { sessions: 64, waiting: 4_096, repeatMs: 50 })
  const changes = new NodeChanges()
  const seats = new Seats(state, changes)
  const liveTasks = new LiveTasks(changes)
  const nodes = new Nodes({ state, seats, tasks: liveTasks })
  const offers = new Offers({ timeoutMs: config.offerTimeoutMs })
  const frameworks = new Frameworks({ state, liveTasks, proposer, leadership, log })
  const allocation = new Allocation(
    { changes, seats, nodes, liveTasks, frameworks, offers, clock, random, log },
    { batchMs: config.allocationBatchMs }
  )
  const endings = new Endings({ state, liveTasks, frameworks, proposer, log })
  const orders = new AgentOrders({ state, liveTasks, seats, leadership, log })
  const whereabouts = new Whereabouts({ state, liveTasks })
  const deliveries = new Deliveries({ orders, liveTasks, endings, background, clock }, config)
  deliveries.onDelivered((task) => whereabouts.known(task.frameworkId, task.taskId))
  endings.onEnded((status) => whereabouts.known(status.frameworkId, status.taskId))
  const assignments = new Assignments({ state, liveTasks, proposer, deliveries, orders, frameworks, clock, log })
  const restarting = new Set(config.restarting)
  const tenants = new Tenants({ state, proposer })
  const launches = new Launches({ state, offers, allocation, assignments, frameworks, tenants, clock }, { restarting })
  const statuses = new Statuses({ state, liveTasks, frameworks, endings, leadership, background, log })
  statuses.onApplied((task) => deliveries.delivered(task))
  const absences = new Absences(
    { state, seats, liveTasks, changes, frameworks, endings, proposer, background, clock, log },
    { ...absenceDefaults, ...config }
  )
  const grantor = new Grantor({ state, replica, proposer, endings, liveTasks, background, clock, log })
  const leased = grantor.recorded.bind(grantor)
  const rebuilding = parts.rebuild && new Rebuilding({ state, proposer, log, leased, wish: parts.rebuild })
  const registration = new Registration(
    {
      ...{ state, absences, seats, liveTasks, nodes, frameworks, deliveries, statuses, endings },
      ...{ proposer, leadership, background, clock, log },
      rebuilding,
      agentAddresses: parts.agentAddresses ?? (() => [])
    },
    { silenceMs: config.heartbeatMs * config.missedBeats }
  )
  const desk: AgentDesk = {
    register: (link, register, signal) => registration.register(link, register, signal),
    left: (link, why) => registration.left(link, why),
    answered: (link, answer) => deliveries.answered(link, answer),
    healed: (link, health) => seats.heal(link, health),
    status: (link, status) => statuses.received(link, status),
    leaseAsked: (link, request) => grantor.asked(link, request)
  }
  const resizing = new Resizing({ liveTasks, nodes, allocation, log })
  const link = inProcessLink(
    { frameworks, allocation, state, proposer, launches, orders, assignments, resizing },
    background.signal
  )
  const removals = new Removals({ state, members: parts.members, seats, liveTasks, endings, proposer, background, clock, log })
  const feed = new Feed({ replica, frameworks, changes, removals })
  const services: readonly Service[] = [allocation, registration, absences, grantor, removals, feed]
  /** Resolves when what is read next shows every write that was acknowledged before the call, by whichever master. */
  const upToDate = async (signal: AbortSignal): Promise<void> => feed.reached(await replica.read(signal), signal)
  const leases = (frameworkId: string, taskId: string) => leaseFacts(state.assignmentOf(frameworkId, taskId))
  return { upToDate, changes, leases, nodes, tenants, whereabouts, desk, link, services, offers, removals }
}
