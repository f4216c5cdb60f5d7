import type { AttemptEnd, TaskRow } from '../proto/gen/messages.ts'
import { assignmentOf, attemptEndOf } from './assignment.ts'
import type { LedgerView } from './ports.ts'
import type { TaskRunner } from './task-runner.ts'

/** Ends of earlier attempts that a status tells. */
const endsTold = 10

/** The attempts of one assignment that the ledger still knows, oldest first. */
export class AttemptLine {
  readonly assigned: ReturnType<typeof assignmentOf>
  readonly #attempts: TaskRunner[] = []

  constructor(row: TaskRow) {
    this.assigned = assignmentOf(row)
  }

  add(runner: TaskRunner): void {
    this.#attempts.push(runner)
    this.#attempts.sort((a, b) => a.row.attempt - b.row.attempt)
  }

  drop(runner: TaskRunner): void {
    const at = this.#attempts.indexOf(runner)
    if (at >= 0) this.#attempts.splice(at, 1)
  }

  get attempts(): readonly TaskRunner[] {
    return this.#attempts
  }

  get newest(): TaskRunner | undefined {
    return this.#attempts.at(-1)
  }

  before(runner: TaskRunner): TaskRunner | undefined {
    return this.#attempts.find((r) => r.containerId === runner.row.previousContainerId)
  }

  after(runner: TaskRunner): TaskRunner | undefined {
    return this.#attempts.find((r) => r.row.previousContainerId === runner.containerId)
  }

  /** How the last attempts before this one ended, oldest first. */
  endsBefore(runner: TaskRunner): readonly AttemptEnd[] {
    const known = this.#attempts.filter((r) => r.row.attempt < runner.row.attempt)
    const told = known.at(-1)?.latest()
    const older = told?.earlierAttempts ?? []
    return [...older, ...(told?.willRestart ? [attemptEndOf(told)] : [])].slice(-endsTold)
  }
}

/** Whether the ledger holds an attempt that follows this container. */
export const isSucceeded = (view: LedgerView, containerId: string): boolean =>
  [...view.tasks.values()].some((task) => task.row.previousContainerId === containerId)
