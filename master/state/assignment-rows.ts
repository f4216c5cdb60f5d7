import type { AssignmentRow } from './cluster.ts'

const none: ReadonlyMap<string, AssignmentRow> = new Map()

/** Assignments by key, and those of each agent: one that comes back is compared with its own alone. */
export class AssignmentRows extends Map<string, AssignmentRow> {
  readonly #byAgent = new Map<string, Map<string, AssignmentRow>>()

  override set(key: string, row: AssignmentRow): this {
    const before = this.get(key)
    if (before !== undefined && before.assignment.agentId !== row.assignment.agentId) this.#forget(key, before)
    const { agentId } = row.assignment
    const own = this.#byAgent.get(agentId) ?? new Map<string, AssignmentRow>()
    this.#byAgent.set(agentId, own.set(key, row))
    return super.set(key, row)
  }

  override delete(key: string): boolean {
    const row = this.get(key)
    if (row !== undefined) this.#forget(key, row)
    return super.delete(key)
  }

  override clear(): void {
    this.#byAgent.clear()
    super.clear()
  }

  on(agentId: string): Iterable<AssignmentRow> {
    return (this.#byAgent.get(agentId) ?? none).values()
  }

  #forget(key: string, { assignment: { agentId } }: AssignmentRow): void {
    const own = this.#byAgent.get(agentId)
    own?.delete(key)
    if (own?.size === 0) this.#byAgent.delete(agentId)
  }
}
