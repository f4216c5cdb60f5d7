export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

/** No node has this id. */
export const nobody = 0

/** Changes often and may be lost: nothing of it is stored. */
export interface SoftState {
  readonly leader: number
  readonly role: Role
}

/** Must be on disk before any message that rests on it is sent. */
export interface HardState {
  readonly term: number
  readonly vote: number
  readonly commit: number
}

/** The membership as snapshots carry it, every list in ascending order. */
export interface ConfState {
  readonly voters: readonly number[]
  readonly votersOutgoing: readonly number[]
  readonly learners: readonly number[]
  readonly learnersNext: readonly number[]
  readonly autoLeave: boolean
}

/** The state machine after `index`. The core looks at everything but `data`, which the host may keep elsewhere. */
export interface Snapshot {
  readonly index: number
  readonly term: number
  readonly confState: ConfState
  readonly data: Uint8Array
}

/** A read may be answered once the state machine has applied `index`. */
export interface ReadState {
  readonly index: number
  readonly context: string
}
