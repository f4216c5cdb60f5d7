export type ConfChangeType = 'add-voter' | 'remove' | 'update' | 'add-learner'

export interface ConfChangeSingle {
  readonly type: ConfChangeType
  readonly nodeId: number
}

/** auto: joint only when more than one change is asked for; implicit and explicit: always joint, left by itself or on demand. */
export type Transition = 'auto' | 'implicit' | 'explicit'

/** No change at all, with `auto`, leaves a joint configuration. */
export interface ConfChange {
  readonly transition: Transition
  readonly changes: readonly ConfChangeSingle[]
  readonly context: Uint8Array
}

/** How the configuration has to be moved to carry out a change. */
export type ConfChangePlan = { kind: 'leave' } | { kind: 'simple' } | { kind: 'enter'; autoLeave: boolean }

export function planOf(change: ConfChange): ConfChangePlan {
  if (change.transition === 'auto' && change.changes.length === 0) return { kind: 'leave' }
  if (change.transition === 'auto' && change.changes.length === 1) return { kind: 'simple' }
  return { kind: 'enter', autoLeave: change.transition !== 'explicit' }
}
