import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { TaskGroup, TaskReport } from '../proto/gen/messages.ts'
import { isTerminal } from '../proto/task-state.ts'
import { leaseLengthOf } from './assignments.ts'
import type { Proposer } from './proposer.ts'
import type { AssignmentRow, ClusterState } from './state/cluster.ts'

interface RebuildingParts {
  readonly state: Pick<ClusterState, 'assignmentOf' | 'frameworks'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly log: Log
  /** Hears of assignments whose leases the lost masters may have granted. */
  readonly leased: (row: AssignmentRow | undefined) => void
  /** Tells the task's scheduler what it wished for; rejects with `Fault('conflict')` where it knows. */
  readonly wish: (taskId: string, group: TaskGroup, createdAtMs: number) => Promise<void>
}

/**
 * After the loss of every log: what agents report is taken for what was assigned, so that it goes on and nothing is started twice
 * (docs/decisions/0047). The assignment comes first: a scheduler that has a wish and no assignment would have it launched.
 */
export class Rebuilding {
  readonly #parts: RebuildingParts

  constructor(parts: RebuildingParts) {
    this.#parts = parts
  }

  async take(agentId: string, reports: readonly TaskReport[], signal: AbortSignal): Promise<void> {
    for (const report of reports) await this.#takeOne(agentId, report, signal)
  }

  /** A task whose definition is lost, or whose framework has not come back, is left as it is for somebody to look at. */
  leaves({ frameworkId, taskId }: Pick<TaskReport, 'frameworkId' | 'taskId'>): boolean {
    return this.#parts.state.assignmentOf(frameworkId, taskId) === undefined
  }

  async #takeOne(agentId: string, report: TaskReport, signal: AbortSignal): Promise<void> {
    const { state, proposer, wish, leased, log } = this.#parts
    const { frameworkId, taskId, attempt, containerId, specDigest, role, resources, group, latest } = report
    const known = state.assignmentOf(frameworkId, taskId)
    const isTold = group !== null && state.frameworks.has(frameworkId)
    if (!isTold || (known !== undefined && known.assignment.attempt >= attempt)) {
      if (known === undefined) log.warn({ frameworkId, taskId, agentId, hasDefinition: group !== null }, 'task.not_rebuilt')
      return
    }
    const ids = { frameworkId, taskId, attempt, containerId, agentId }
    try {
      const leaseLengthMs = leaseLengthOf(group, taskId)
      const leaseHeld = leaseLengthMs > 0 && !hasEnded(report)
      await proposer.propose({ assignTask: { ...ids, specDigest, role, resources, leaseLengthMs, leaseHeld } }, signal)
      leased(state.assignmentOf(frameworkId, taskId))
      await wish(taskId, { ...group, policy: null, ids: null }, latest?.startedAtMs ?? 0)
    } catch (e) {
      // It was wished for anew under that name, or another node had a later attempt of it.
      if (!isFault(e, 'conflict')) throw e
    }
    log.info({ ...ids, state: report.state }, 'task.rebuilt')
  }
}

const hasEnded = ({ state }: TaskReport): boolean => state !== 'unspecified_state' && isTerminal(state)
