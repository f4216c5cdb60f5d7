import { jointCommittedIndex } from './quorum.ts'
import type { Tracker } from './tracker.ts'

/** A read that waits for a quorum to confirm that its leader still leads. `from` is 0 for one of our own. */
export interface WaitingRead {
  readonly from: number
  readonly context: string
  /** What was committed when it came: once applied, the read sees all that was acknowledged before. */
  readonly index: number
  readonly round: number
}

/**
 * Reads wait in rounds: all that come between two bundles of work share one round of heartbeats. Rounds count up within a term,
 * and nobody leads twice in a term, so an answer can never be taken for one to another round, not even across a restart.
 */
export interface ReadQueue {
  /** The last round that was sent out. */
  round: number
  waiting: WaitingRead[]
  /** The highest round each peer has confirmed. */
  readonly confirmed: Map<number, number>
  /** Came before anything of this term was committed, when the leader cannot know yet what is. */
  early: { readonly from: number; readonly context: string }[]
}

export const newReadQueue = (): ReadQueue => ({ round: 0, waiting: [], confirmed: new Map(), early: [] })

export function addRead(queue: ReadQueue, from: number, context: string, index: number): void {
  queue.waiting.push({ from, context, index, round: queue.round + 1 })
}

export const hasUnsentReads = (queue: ReadQueue): boolean => (queue.waiting.at(-1)?.round ?? 0) > queue.round

/** Opens the next round, to be told with a heartbeat to everybody. */
export function openRound(queue: ReadQueue, ownId: number): void {
  queue.round++
  queue.confirmed.set(ownId, queue.round)
}

/** A peer has answered a heartbeat of `round`: it confirms all earlier ones too. Answers the reads that may be served. */
export function confirmRound(queue: ReadQueue, tracker: Tracker, from: number, round: number): readonly WaitingRead[] {
  if (round <= (queue.confirmed.get(from) ?? 0) || round > queue.round) return []
  queue.confirmed.set(from, round)
  const quorumRound = jointCommittedIndex(tracker.config.voters, (id) => queue.confirmed.get(id) ?? 0)
  const pending = queue.waiting.findIndex((read) => read.round > quorumRound)
  return queue.waiting.splice(0, pending === -1 ? queue.waiting.length : pending)
}
