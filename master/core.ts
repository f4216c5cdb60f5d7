import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import { Agents } from './agents.ts'
import { Allocation } from './allocation.ts'
import type { AgentDesk } from './api/agent-session.ts'
import { Background } from './background.ts'
import { Endings } from './endings.ts'
import { Feed } from './feed.ts'
import { Frameworks, inProcessLink } from './frameworks.ts'
import { Launches } from './launches.ts'
import { Offers } from './offers.ts'
import { Proposer } from './proposer.ts'
import { Registration } from './registration.ts'
import type { Replica } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'
import { Statuses } from './statuses.ts'

interface CoreParts {
  readonly replica: Replica & { readonly state: ClusterState }
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface CoreConfig {
  readonly heartbeatMs: number
  readonly missedBeats: number
  /** What agents get to come back after the master's own start. */
  readonly returnMs: number
  readonly offerTimeoutMs: number
  readonly allocationBatchMs: number
  readonly deliveryMs: number
  readonly startMs: number
  /** Frameworks whose tasks the agent may start again by itself. */
  readonly restarting: readonly string[]
}

export const coreDefaults: CoreConfig = {
  heartbeatMs: 1_000,
  missedBeats: 5,
  returnMs: 15_000,
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
  const agents = new Agents(state)
  const offers = new Offers({ timeoutMs: config.offerTimeoutMs })
  const frameworks = new Frameworks({ state, agents, proposer, leadership, log })
  const allocation = new Allocation({ agents, frameworks, offers, clock, random, log }, { batchMs: config.allocationBatchMs })
  const endings = new Endings({ state, agents, frameworks, proposer, log })
  const launches = new Launches(
    { state, agents, offers, allocation, frameworks, endings, proposer, leadership, background, clock, log },
    { deliveryMs: config.deliveryMs, startMs: config.startMs, restarting: new Set(config.restarting) }
  )
  const statuses = new Statuses({ state, agents, frameworks, endings, leadership, background, log })
  statuses.onApplied((task) => launches.delivered(task))
  const registration = new Registration(
    { state, agents, frameworks, launches, statuses, endings, proposer, leadership, background, clock, log },
    { silenceMs: config.heartbeatMs * config.missedBeats, returnMs: config.returnMs }
  )
  const desk: AgentDesk = {
    register: (link, register, signal) => registration.register(link, register, signal),
    left: (link, why) => registration.left(link, why),
    answered: (link, answer) => launches.answered(link, answer),
    healed: (link, health) => agents.heal(link, health),
    status: (link, status) => statuses.received(link, status)
  }
  const link = inProcessLink({ frameworks, allocation, state, proposer, launches }, background.signal)
  const services: readonly Service[] = [allocation, registration, new Feed({ replica, frameworks, agents })]
  return { agents, launches, desk, link, services, offers }
}
