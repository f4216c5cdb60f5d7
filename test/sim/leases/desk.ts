import type { Clock } from '../../../base/clock.ts'
import { isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import type { Random } from '../../../base/random.ts'
import { Background } from '../../../master/background.ts'
import type { RaftReplica } from '../../../master/consensus/raft-replica.ts'
import { Endings } from '../../../master/endings.ts'
import { masterStatus } from '../../../master/frameworks.ts'
import { Grantor } from '../../../master/leases/grantor.ts'
import { Proposer } from '../../../master/proposer.ts'
import type { ReplicaCommand } from '../../../master/replica.ts'
import { levelOfLeases } from '../../../master/state/cluster.ts'
import { completeMessage } from '../../../proto/codec.ts'
import type { LeaseGrant, LeaseRequest } from '../../../proto/gen/messages.ts'
import type { SimNode } from '../node.ts'
import type { Schedule } from '../schedule.ts'
import { sleeping } from './sleep.ts'

export const frameworkId = 'f'

/** A launch, with what of it counts here. */
export interface SimLaunch {
  readonly epoch: number
  readonly taskId: string
  readonly attempt: number
  readonly containerId: string
  readonly lengthMs: number
}

export interface DeskWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly tasks: readonly string[]
  readonly agentIds: readonly string[]
  readonly lengthMs: number
  /** How fast the clock of that master goes. */
  readonly rate: number
  newContainerId(): string
  launch(from: SimNode, agentId: string, launch: SimLaunch): void
  grant(from: SimNode, agentId: string, grant: LeaseGrant): void
}

/** A master in one term of its leadership: the real grantor, and around it a scheduler that cannot wait for anything. */
export class LeaseDesk {
  /** No more mischief: what is given up or launched twice from here on would never come to rest. */
  isCalm = false
  readonly replica: RaftReplica
  readonly term: number
  readonly #node: SimNode
  readonly #world: DeskWorld
  readonly #clock: Clock
  readonly #background = new Background(silentLog)
  readonly #proposer: Proposer
  readonly #endings: Endings
  readonly #grantor: Grantor
  readonly #busy = new Set<string>()

  constructor(node: SimNode, replica: RaftReplica, world: DeskWorld) {
    const clock = clockOf(node, replica, world)
    const { state } = replica
    this.#node = node
    this.replica = replica
    this.term = replica.leadership.term
    this.#world = world
    this.#clock = clock
    this.#proposer = new Proposer({ replica, clock }, { sessions: 16, waiting: 100, repeatMs: 50 })
    const liveTasks = { container: () => undefined, release: () => undefined }
    const proposer = this.#proposer
    this.#endings = new Endings({ state, liveTasks, frameworks: { deliver: () => undefined }, proposer, log: silentLog })
    this.#grantor = new Grantor({
      ...{ state, replica, proposer, endings: this.#endings, liveTasks },
      ...{ background: this.#background, clock, log: silentLog }
    })
  }

  async start(): Promise<void> {
    await this.#grantor.start()
    this.#look()
  }

  close(): void {
    void this.#grantor.stop()
    void this.#background.stop()
  }

  asked(agentId: string, request: LeaseRequest): void {
    const none = (): never => {
      throw new Error('leases need no streams')
    }
    const link = {
      agentId,
      silentMs: 0,
      open: none,
      close: () => undefined,
      send: (kind: string, message: object) => {
        if (kind === 'LeaseGrant') this.#world.grant(this.#node, agentId, completeMessage('LeaseGrant', message))
      }
    }
    this.#grantor.asked(link, request)
  }

  /** Resolves with whether the agent may forget it. */
  async ended(agentId: string, { taskId, attempt, containerId }: SimLaunch): Promise<boolean> {
    const of = { frameworkId, taskId, attempt, containerId, agentId }
    try {
      await this.#endings.commitLeft(masterStatus(of, 'failed', 'exited', '', 0), this.#background.signal)
      return true
    } catch (e) {
      if (isFault(e) || this.#background.signal.aborted) return false
      throw e
    }
  }

  #look(): void {
    const { schedule, random, tasks } = this.#world
    schedule.after(random.between(10, 100), () => {
      this.#node.does(this.replica, () => {
        if (this.#background.signal.aborted) return
        this.#look()
        if (this.#hasPrepared()) for (const taskId of tasks) this.#schedule(taskId)
      })
    })
  }

  #hasPrepared(): boolean {
    const { state } = this.replica
    const { featureLevel } = state
    if (featureLevel < levelOfLeases) this.#propose('level', { raiseFeatureLevel: { level: featureLevel + 1 } })
    if (!state.frameworks.has(frameworkId)) this.#propose('framework', { registerFramework: { framework: { frameworkId } } })
    const missing = this.#world.agentIds.filter((agentId) => !state.agents.has(agentId))
    for (const agentId of missing) this.#propose(agentId, { registerAgent: { agentId } })
    return featureLevel >= levelOfLeases && missing.length === 0 && state.frameworks.has(frameworkId)
  }

  #schedule(taskId: string): void {
    const { random, lengthMs } = this.#world
    const row = this.replica.state.assignmentOf(frameworkId, taskId)
    const isMischief = (times: number): boolean => !this.isCalm && random.between(1, times) === 1
    if (row === undefined || row.ending !== null) {
      if (row !== undefined && isMischief(3)) this.#propose(taskId, { forgetTask: { frameworkId, taskId } })
      this.#assign(taskId, (row?.assignment.attempt ?? 0) + 1)
      return
    }
    const { attempt, containerId, agentId } = row.assignment
    this.#world.launch(this.#node, agentId, { epoch: this.term, taskId, attempt, containerId, lengthMs })
    if (isMischief(10)) this.#assign(taskId, attempt + 1)
    else if (isMischief(40)) this.#giveUp({ frameworkId, taskId, attempt, containerId, agentId })
  }

  #assign(taskId: string, attempt: number): void {
    const { random, agentIds, lengthMs } = this.#world
    const agentId = agentIds[random.between(0, agentIds.length - 1)] ?? ''
    const containerId = this.#world.newContainerId()
    const assignTask = { frameworkId, taskId, attempt, agentId, containerId, leaseLengthMs: lengthMs }
    const launch = { epoch: this.term, taskId, attempt, containerId, lengthMs }
    this.#propose(taskId, { assignTask }, () => this.#world.launch(this.#node, agentId, launch))
  }

  /** As an operator does who removes a node, or a cluster that waits no longer: nothing says that it runs no more. */
  #giveUp(of: Parameters<typeof masterStatus>[0]): void {
    const status = masterStatus(of, 'gone', 'agent_removed', '', this.#clock.wallMs())
    this.#background.run('', (signal) => this.#endings.commit(status, true, signal))
  }

  #propose(what: string, command: ReplicaCommand, then: () => void = () => undefined): void {
    if (this.#busy.has(what)) return
    this.#busy.add(what)
    this.#background.run('', async (signal) => {
      try {
        await this.#proposer.propose(command, signal)
        then()
      } finally {
        this.#busy.delete(what)
      }
    })
  }
}

/** A stopped process sleeps on, and wakes late. */
function clockOf(node: SimNode, replica: RaftReplica, { schedule, rate }: DeskWorld): Clock {
  return {
    monotonicMs: () => schedule.nowMs * rate,
    wallMs: () => schedule.nowMs,
    sleep: (ms, signal) => sleeping((work) => schedule.after(Math.ceil(ms / rate), () => node.does(replica, work)), signal)
  }
}
