import type { ExpectedEnd } from '../invariants/expected.ts'
import type { Ordered, Stage, Strike } from './stage.ts'

export type Variant = 'plain' | 'restart' | 'away'

/**
 * One life cycle. `prepare` leads to where the thing begins, `act` asks for it. In the variant `restart` the agent is killed as
 * soon as `middle` holds and struck while it recovers; in `away` the master is gone from then until `meanwhile` holds.
 */
export interface Scenario {
  readonly name: string
  readonly variants: readonly Variant[]
  prepare(s: Stage): Promise<Ordered | undefined>
  /** Resolves when all was asked for and answered, or when the agent did not answer. What no agent may answer is a sentence. */
  act(s: Stage, task: Ordered | undefined): Promise<readonly string[]>
  middle(s: Stage, task: Ordered | undefined): boolean
  /** What the agent sleeps through in `restart`, and the master in `away`. */
  meanwhile(s: Stage, task: Ordered | undefined): boolean
  /** Leads to the end of every task; the agent may have died meanwhile. */
  finish(s: Stage, task: Ordered | undefined): Promise<readonly string[]>
  /** Ends that the task may have where nothing of it failed. */
  readonly ends: readonly ExpectedEnd[]
  /** What else may be told where the agent dies between its own decision to end the task and the end. */
  readonly endsUndecided?: readonly ExpectedEnd[]
  readonly counts: boolean
  /** Ends of attempts that another one follows, and how many attempts there are where nothing is struck. */
  readonly followed?: readonly ExpectedEnd[]
  readonly attempts?: number
  /** The launch itself is among what is struck. */
  readonly launches: boolean
  /** The task is forgotten in the end, so that nothing of it may be left. */
  readonly forgets?: boolean
  /** What strikes the first agent of the variant `restart`, where being killed in the middle is not enough. */
  readonly first?: Strike
}

export const finished: ExpectedEnd = { state: 'finished', reason: 'exited', exitCode: 0 }

/** Its program has told so itself. */
export const hasBegun = (s: Stage, task: Ordered | undefined): boolean => task !== undefined && s.marks(task).includes('start ')
