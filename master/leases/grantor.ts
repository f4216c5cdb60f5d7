import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import type { LeaseRequest } from '../../proto/gen/messages.ts'
import { attemptOf } from '../attempts.ts'
import type { Background } from '../background.ts'
import type { Endings } from '../endings.ts'
import { masterStatus } from '../frameworks.ts'
import type { AgentLink } from '../link.ts'
import type { LiveTasks } from '../live-tasks.ts'
import type { Proposer } from '../proposer.ts'
import type { Replica } from '../replica.ts'
import type { AssignmentRow, ClusterState } from '../state/cluster.ts'
import { holdsLease } from '../state/leases.ts'
import { LeaseBook } from './lease-book.ts'

interface GrantorParts {
  readonly state: Pick<ClusterState, 'assignments' | 'assignmentOf' | 'agents'>
  readonly replica: Pick<Replica, 'read' | 'leadership'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly endings: Pick<Endings, 'commitLeft' | 'onEnded'>
  readonly liveTasks: Pick<LiveTasks, 'container'>
  readonly background: Background
  readonly clock: Clock
  readonly log: Log
}

const lookMs = 100
const againMs = 1_000

/**
 * Grants tasks their time to run, and says when nobody has it any more (docs/decisions/0048). The first grant of an assignment is on
 * record; those that follow are given when a quorum has said, after the request came, that this master leads still.
 */
export class Grantor implements Service {
  readonly name = 'grantor'
  readonly #parts: GrantorParts
  readonly #term: number
  readonly #closing = new AbortController()
  /** Assignments that an answer is on its way to. */
  readonly #answering = new Set<string>()
  readonly #ending = new Set<string>()
  readonly #book = new LeaseBook()
  #loop: Promise<void> = Promise.resolve()

  constructor(parts: GrantorParts) {
    this.#parts = parts
    this.#term = parts.replica.leadership.term
    parts.endings.onEnded((status) => this.#forgetOver(status.frameworkId, status.taskId))
  }

  /** Whatever an earlier leader has granted was asked for before this one came to lead: it waits a whole length from here. */
  async start(): Promise<void> {
    for (const row of this.#parts.state.assignments.values()) this.recorded(row)
    this.#loop = this.#watch()
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#loop
  }

  /** To be called for each lease that comes on record, so that its end is seen to whether its holder is heard again or not. */
  recorded(row: AssignmentRow | undefined): void {
    if (row !== undefined && holdsLease(row)) this.#book.recorded(leaseOf(row), this.#parts.clock.monotonicMs())
  }

  /** Answers a request of the agent behind that link, or does not: agents ask again. */
  asked(link: AgentLink, request: LeaseRequest): void {
    const receivedMs = this.#parts.clock.monotonicMs()
    const { containerId } = request
    // At most one answer under way for each assignment: what an agent sends bounds nothing.
    if (this.#answering.has(containerId)) return
    const refusal = this.#refusal(link.agentId, request)
    if (refusal !== undefined) {
      this.#refuse(link, request, refusal)
      return
    }
    this.#answering.add(containerId)
    this.#parts.background.run('lease.not_granted', async (signal) => {
      try {
        await this.#answer(link, request, receivedMs, signal)
      } finally {
        this.#answering.delete(containerId)
      }
    })
  }

  async #answer(link: AgentLink, request: LeaseRequest, receivedMs: number, signal: AbortSignal): Promise<void> {
    const { state, replica, log } = this.#parts
    const { frameworkId, taskId, containerId } = request
    const before = state.assignmentOf(frameworkId, taskId)
    if (before?.lease === null) await this.#record(before, signal)
    // Whoever has come to lead meanwhile counts from its own beginning: what was asked for later it knows nothing of.
    else await replica.read(signal)
    if (!this.#leads) return
    const row = state.assignmentOf(frameworkId, taskId)
    this.recorded(row)
    const refusal = this.#refusal(link.agentId, request)
    const isGranted = refusal === undefined && row !== undefined && this.#book.granting(leaseOf(row), receivedMs)
    if (!isGranted) {
      this.#refuse(link, request, refusal ?? isOver)
      return
    }
    const { leaseLengthMs: lengthMs } = row.assignment
    link.send('LeaseGrant', { epoch: this.#term, containerId, request: request.request, granted: true, lengthMs })
    if (before?.lease === null) log.info({ taskId, frameworkId, containerId, lengthMs }, 'lease.granted')
  }

  async #record(row: AssignmentRow, signal: AbortSignal): Promise<void> {
    const { frameworkId, taskId, attempt, containerId } = row.assignment
    // Before it is on record, for it may come to be so unseen.
    this.#book.recorded(leaseOf(row), this.#parts.clock.monotonicMs())
    const grantLease = { frameworkId, taskId, attempt, containerId, epoch: this.#term }
    try {
      await this.#parts.proposer.propose({ grantLease }, signal)
    } catch (e) {
      // It ended, or went elsewhere, meanwhile: the answer says so.
      if (!isFault(e, 'conflict') && !isFault(e, 'not-found')) throw e
    }
  }

  #refusal(agentId: string, request: LeaseRequest): string | undefined {
    const { state } = this.#parts
    const row = state.assignmentOf(request.frameworkId, request.taskId)
    if (row === undefined) return unknown
    const { assignment, ending, lease } = row
    if (assignment.containerId !== request.containerId) return 'another attempt has taken its place'
    if (assignment.agentId !== agentId) return `it was given to node ${assignment.agentId}`
    if (assignment.leaseLengthMs === 0) return 'it was assigned without a lease'
    if (ending !== null) return 'the cluster has ended it'
    if (state.agents.get(agentId)?.condition === 'agent_gone') return 'its node was given up'
    return lease?.over === true ? isOver : undefined
  }

  #refuse(link: AgentLink, { containerId, request }: LeaseRequest, message: string): void {
    this.#parts.log.info({ agentId: link.agentId, containerId, why: message }, 'lease.refused')
    link.send('LeaseGrant', { epoch: this.#term, containerId, request, granted: false, message })
  }

  get #leads(): boolean {
    const { leadership } = this.#parts.replica
    return leadership.leading && leadership.term === this.#term
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    const { clock, state, background } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(lookMs, signal).catch(() => undefined) // Only the stop ends it early.
      if (signal.aborted) return
      for (const { frameworkId, taskId, containerId } of this.#book.over(clock.monotonicMs())) {
        const row = state.assignmentOf(frameworkId, taskId)
        const holds = row?.assignment.containerId === containerId && holdsLease(row)
        if (row === undefined || !holds) this.#book.forget(containerId)
        else if (!this.#ending.has(containerId)) background.run('lease.end_not_committed', (closing) => this.#end(row, closing))
      }
    }
  }

  /** What could not be committed is tried again: until then it is over all the same. */
  async #end(row: AssignmentRow, signal: AbortSignal): Promise<void> {
    const { proposer, endings, clock, log } = this.#parts
    const { frameworkId, taskId, attempt, containerId, agentId, leaseLengthMs } = row.assignment
    this.#ending.add(containerId)
    try {
      if (row.ending === null) await endings.commitLeft(this.#endOf(row), signal)
      else await proposer.propose({ endLease: { frameworkId, taskId, attempt, containerId } }, signal)
      log.warn({ frameworkId, taskId, agentId, lengthMs: leaseLengthMs }, 'lease.over')
    } catch (e) {
      if (isFault(e)) await clock.sleep(againMs, signal)
      throw e
    } finally {
      this.#ending.delete(containerId)
    }
  }

  #endOf({ assignment }: AssignmentRow) {
    const { liveTasks, clock } = this.#parts
    const live = liveTasks.container(assignment.containerId)
    const why = `its node did not renew its lease of ${assignment.leaseLengthMs / 1_000} s, and has ended it`
    const status = masterStatus(assignment, 'failed', 'lease_expired', why, clock.wallMs())
    return live === undefined ? status : { ...status, ...attemptOf(live.status) }
  }

  #forgetOver(frameworkId: string, taskId: string): void {
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    if (row !== undefined && !holdsLease(row)) this.#book.forget(row.assignment.containerId)
  }
}

const unknown = 'the cluster does not know it any more'
const isOver = 'its lease is over'

const leaseOf = ({ assignment: { frameworkId, taskId, containerId, leaseLengthMs } }: AssignmentRow) => ({
  frameworkId,
  taskId,
  containerId,
  lengthMs: leaseLengthMs
})
