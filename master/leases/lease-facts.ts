import type { AssignmentRow } from '../state/cluster.ts'

/** How it is with the lease of a task, for people. */
export interface LeaseFacts {
  /** `wanted`: its agent has not asked for it yet. */
  readonly state: 'wanted' | 'held' | 'over'
  /** By the leader's clock at the grant. */
  readonly grantedAtMs: number | null
}

export function leaseFacts(row: Pick<AssignmentRow, 'lease'> | undefined): LeaseFacts {
  if (row === undefined || row.lease === null) return { state: 'wanted', grantedAtMs: null }
  return { state: row.lease.over ? 'over' : 'held', grantedAtMs: row.lease.grantedAtMs }
}
