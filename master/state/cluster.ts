import type {
  AgentRow as AgentRowMessage,
  Answer,
  AssignmentRow as AssignmentRowMessage,
  AssignTask,
  AuthorityRow,
  FrameworkDefinition,
  JoinTokenRow,
  NodeIdentityRow,
  OperatorRow,
  RegisterAgent
} from '../../proto/gen/messages.ts'
import { AssignmentRows } from './assignment-rows.ts'
import { OrderedRows } from './ordered-rows.ts'

export interface AgentRow extends AgentRowMessage {
  readonly agent: RegisterAgent
}

export interface AssignmentRow extends AssignmentRowMessage {
  readonly assignment: AssignTask
}

export interface SessionState {
  readonly seq: number
  readonly answer: Answer
  /** Index of the last command that came under this session. */
  readonly usedIndex: number
}

/** The highest feature level this build can apply. */
export const highestFeatureLevel = 5

/** From which on an agent that was given up, and not removed, may come back. */
export const levelOfReturn = 3

/** From which on no member would launch the tasks of a pod one by one. */
export const levelOfPods = 4

/** From which on every member keeps to the leases that are on record. */
export const levelOfLeases = 5

/** At each limit a command is recorded as refused with `exhausted`; the sessions' oldest-used one goes instead. */
export const clusterLimits = {
  agents: 100_000,
  frameworks: 1_000,
  assignments: 1_000_000,
  sessions: 10_000,
  joinTokens: 10_000,
  operators: 10_000,
  storeBytes: 64 * 1024 * 1024,
  storeKeyBytes: 1024,
  storeValueBytes: 1024 * 1024
} as const

export type ClusterLimits = { readonly [K in keyof typeof clusterLimits]: number }

/**
 * What the log says. Changed by `apply` alone; rows are replaced, never changed, so whoever holds one may keep it. The keys
 * of the maps are agent ids, framework ids, `assignmentKey` and session names. Ask for a map each time: `become` replaces them.
 */
export class ClusterState {
  clusterId = ''
  /** 0 until the cluster is initialised. */
  featureLevel = 0
  /** Of the last applied entry. */
  index = 0
  /** The leader's wall clock at the last command; never decreases. */
  atMs = 0
  agents = new Map<string, AgentRow>()
  frameworks = new Map<string, FrameworkDefinition>()
  assignments = new AssignmentRows()
  stores = new Map<string, OrderedRows>()
  /** By digest; the last one signs. */
  authorities = new Map<string, AuthorityRow>()
  joinTokens = new Map<string, JoinTokenRow>()
  /** By node id. */
  nodeIdentities = new Map<string, NodeIdentityRow>()
  /** By name. */
  operators = new Map<string, OperatorRow>()
  /** Oldest used first. */
  sessions = new Map<string, SessionState>()

  /** Takes over all of another state, which is given up; whoever holds this one sees it. In no time, however much there is. */
  become(other: ClusterState): void {
    this.clusterId = other.clusterId
    this.featureLevel = other.featureLevel
    this.index = other.index
    this.atMs = other.atMs
    this.agents = other.agents
    this.frameworks = other.frameworks
    this.assignments = other.assignments
    this.stores = other.stores
    this.sessions = other.sessions
    this.authorities = other.authorities
    this.joinTokens = other.joinTokens
    this.nodeIdentities = other.nodeIdentities
    this.operators = other.operators
  }

  /** The rows of a framework's store; empty for one that has none. */
  storeOf(frameworkId: string): OrderedRows {
    return this.stores.get(frameworkId) ?? new OrderedRows()
  }

  assignmentOf(frameworkId: string, taskId: string): AssignmentRow | undefined {
    return this.assignments.get(assignmentKey(frameworkId, taskId))
  }
}

/** Neither id can hold a slash, so no two pairs share a key. */
export const assignmentKey = (frameworkId: string, taskId: string): string => `${frameworkId}/${taskId}`
