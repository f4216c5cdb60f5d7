import type { TaskRow } from '../../proto/gen/messages.ts'
import { assignmentOf } from '../assignment.ts'
import type { Decided } from '../ending.ts'
import type { Lease, LeaseEnd } from './lease.ts'
import type { Leases } from './leases.ts'

/** What one attempt has to do with the lease of its assignment; nothing where its task has none. */
export class AttemptLease {
  readonly #row: TaskRow
  readonly #leases: Leases

  constructor(row: TaskRow, leases: Leases) {
    this.#row = row
    this.#leases = leases
  }

  /** Resolves when the container may be made. Throws `Fault` with `reason: lease_refused`, or the signal's reason. */
  async granted(signal: AbortSignal): Promise<void> {
    const lease = this.#lease()
    if (lease === undefined) return
    this.#leases.want(this.#row.containerId, lease)
    await lease.granted(signal)
  }

  /** The container runs. `ended` hears at most once that it has to end, and why; after the signal never. */
  async follow(ended: (end: LeaseEnd) => void, signal: AbortSignal): Promise<void> {
    const lease = this.#lease()
    if (lease === undefined) return
    const tell = (): void => {
      if (!signal.aborted) ended(lease.end)
    }
    lease.over.addEventListener('abort', tell, { once: true, signal })
    if (!lease.covers(this.#row.containerId)) await this.#leases.adopt(this.#row.containerId, lease)
    else if (lease.over.aborted) tell()
  }

  /** What ended the container, where its watchdog was quicker than whoever decided. */
  decided(known: Decided): Decided {
    if (known !== undefined && known.kind !== 'limit') return known
    const message = this.#row.group?.tasks[0]?.lease === null ? undefined : this.#leases.endOf(this.#row.containerId)
    return message === undefined ? known : { kind: 'lease', message }
  }

  /** No attempt follows. */
  leave(): void {
    this.#leases.leave(assignmentOf(this.#row).containerId)
  }

  #lease(): Lease | undefined {
    const { group } = this.#row
    const task = group?.tasks[0]
    if (group === null || task === undefined || task.lease === null) return undefined
    const { frameworkId } = group
    return this.#leases.of({ frameworkId, taskId: task.taskId, ...assignmentOf(this.#row), lengthMs: task.lease.lengthMs })
  }
}
