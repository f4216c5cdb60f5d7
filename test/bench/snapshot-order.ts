import type { Spread } from './statistics.ts'

export const rounds = 5
export const tasksAgents = 1_000

export interface SnapshotOrder {
  readonly tasks: number
  readonly directory: string
}

/** Of the turns of the event loop while snapshots were taken, and while they arrived. */
export interface SnapshotFigures {
  readonly tookMs: readonly number[]
  readonly taken: Turns
  readonly arrived: Turns
  readonly p999Ms: number
}

type Turns = Spread & { readonly longestMs: number }
