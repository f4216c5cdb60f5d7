import type { Clock } from '../base/clock.ts'
import type { AttemptEnd, TaskRow, TaskStatus } from '../proto/gen/messages.ts'
import { canMove, move, type TaskState } from '../proto/task-state.ts'
import { assignmentOf } from './assignment.ts'

interface Parts {
  readonly outbox: { report(status: Partial<TaskStatus>): Promise<TaskStatus> }
  readonly clock: Clock
  /** How the attempts before this one ended. */
  readonly earlier: () => readonly AttemptEnd[]
}

/** What one attempt tells the master: the only mover of its task state on the host. */
export class AttemptReport {
  readonly #row: TaskRow
  readonly #parts: Parts
  readonly #agentId: string
  #state: TaskState = 'staging'
  #latest: TaskStatus | null
  #startedAtMs: number
  #ready: boolean | undefined
  #startedUp: boolean

  constructor(row: TaskRow, latest: TaskStatus | null, parts: Parts, agentId: string) {
    this.#row = row
    this.#parts = parts
    this.#agentId = agentId
    this.#latest = latest
    this.#startedAtMs = latest?.startedAtMs ?? 0
    this.#ready = latest?.ready
    this.#startedUp = latest?.startedUp ?? false
    if (latest !== null && latest.state !== 'unspecified_state') this.#state = latest.state
  }

  get state(): TaskState {
    return this.#state
  }

  get latest(): TaskStatus | null {
    return this.#latest
  }

  /** Resolves once the status is on the disk; one that the task can no longer come to is dropped. */
  async tell(state: TaskState, more: Partial<TaskStatus>): Promise<void> {
    if (this.#state !== state && !canMove(this.#state, state)) return
    if (this.#state !== state) this.#state = move(this.#state, state)
    const { group, attempt, containerId } = this.#row
    const atMs = Math.round(this.#parts.clock.wallMs())
    if (state === 'running' && this.#startedAtMs === 0) this.#startedAtMs = atMs
    this.#ready = more.ready ?? this.#ready
    this.#startedUp = more.startedUp ?? this.#startedUp
    this.#latest = await this.#parts.outbox.report({
      frameworkId: group?.frameworkId ?? '',
      taskId: group?.tasks[0]?.taskId ?? '',
      attempt,
      containerId,
      agentId: this.#agentId,
      assignedContainerId: assignmentOf(this.#row).containerId,
      earlierAttempts: this.#parts.earlier(),
      startedAtMs: this.#startedAtMs,
      startedUp: this.#startedUp,
      ...(this.#ready === undefined ? {} : { ready: this.#ready && state === 'running' }),
      atMs,
      ...more,
      state
    })
  }
}
