import type { Init } from '../proto/codec.ts'
import type { Answer, Command } from '../proto/gen/messages.ts'

/**
 * The one door to replicated state. Today one voter stands behind it, later three or five: callers see the same four answers.
 *
 * `unknown` is an answer: the command may or may not be applied, now or later. A caller repeats it under the same session and
 * seq (applied at most once), or looks at the state; it never assumes either outcome.
 */
export interface Replica {
  /**
   * `session` and `seq` make a repeat the same command: the answer of the first one comes back. `seq` ascends within a
   * session. An aborted signal ends the wait with `unknown`, never the command.
   */
  propose(session: string, seq: number, command: ReplicaCommand, signal: AbortSignal): Promise<ProposeOutcome>
  /** An index such that every write acknowledged before this call is applied at it, and this replica has applied it. */
  read(signal: AbortSignal): Promise<number>
  /** Applied changes from `fromIndex` on, in order, without a gap. Rejects with `Fault('exhausted')` where they are compacted. */
  changes(fromIndex: number, signal: AbortSignal): AsyncIterable<AppliedChange>
  readonly leadership: Leadership
}

/** A command without what the replica stamps on it. */
export type ReplicaCommand = Omit<Init<Command>, 'session' | 'seq' | 'atMs'>

export type ProposeOutcome =
  | { readonly kind: 'applied'; readonly index: number; readonly term: number; readonly answer: Answer }
  | { readonly kind: 'refused'; readonly reason: 'overloaded' | 'too-large' | 'disk-full' | 'stopping'; readonly message: string }
  | { readonly kind: 'not-leader'; readonly hint: string }
  | { readonly kind: 'unknown' }

export interface AppliedChange {
  readonly index: number
  readonly term: number
  readonly command: Command
  readonly answer: Answer
}

export interface Leadership {
  readonly term: number
  readonly leading: boolean
  /** Calls back at each gain and loss until the signal aborts; at once if leading now. */
  watch(onChange: (change: { readonly kind: 'gained' | 'lost'; readonly term: number }) => void, signal: AbortSignal): void
}
