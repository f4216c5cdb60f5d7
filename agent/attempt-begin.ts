import type { Clock } from '../base/clock.ts'
import type { AttemptEnd, TaskRow } from '../proto/gen/messages.ts'
import { aborted } from './aborted.ts'
import type { BootClock } from './host/boot-time.ts'
import type { Ledger } from './ports.ts'
import { backoffLeftMs, type NextAttempt } from './restart.ts'

/** The attempt before, as the next one has to wait for it. */
export interface PreviousAttempt {
  readonly ended: AbortSignal
  readonly removed: AbortSignal
  readonly clean: boolean
  /** Takes down what is left; false where something is left still. */
  clear(): Promise<boolean>
}

/** The other attempts of the same assignment, as one of them needs to know them. */
export interface Neighbours {
  earlier(): readonly AttemptEnd[]
  previous(): PreviousAttempt | undefined
  isSucceeded(): boolean
  /** Makes the attempt that follows, in the same turn; where there is one already it does nothing. */
  succeed(next: NextAttempt): void
  /** Resolves when it is its turn in its pod. Rejects with the signal's reason. */
  turn(signal: AbortSignal): Promise<void>
}

/** When a launch may go on. */
export interface LaunchTurn {
  take(): Promise<() => void>
  /** Aborts when launches that wait for their time are left to the next agent. */
  readonly left: AbortSignal
}

export const alone: Neighbours = {
  earlier: () => [],
  previous: () => undefined,
  isSucceeded: () => false,
  succeed: () => undefined,
  turn: async () => undefined
}
export const atOnce: LaunchTurn = { take: async () => () => undefined, left: new AbortController().signal }

interface Parts {
  readonly ledger: Pick<Ledger, 'hasRoom'>
  readonly clock: Clock
  readonly bootClock: BootClock
}

const pauseMs = 1_000

/**
 * Waits until an attempt may begin: its back-off is over, the end of the one before is on the disk and nothing is left of its
 * container, and the node's disk has room. Resolves at once for a first attempt. Rejects with the signal's reason, though not
 * before the end of the one before is told: that comes first in the ledger.
 */
export async function untilBegin(
  parts: Parts,
  of: { readonly row: TaskRow; readonly previous: PreviousAttempt | undefined; readonly bootId: string },
  signal: AbortSignal
): Promise<void> {
  const { row, previous, bootId } = of
  const { clock, bootClock, ledger } = parts
  if (row.previousContainerId === '') return
  if (previous !== undefined) await aborted(previous.ended)
  signal.throwIfAborted()
  const leftMs = backoffLeftMs(row, { bootId, bootMs: bootClock.nowMs() })
  if (leftMs > 0) await clock.sleep(leftMs, signal)
  if (previous !== undefined) {
    await Promise.race([aborted(previous.removed), aborted(signal)])
    signal.throwIfAborted()
    while (!previous.clean && !(await previous.clear())) await clock.sleep(pauseMs, signal)
  }
  while (!(await ledger.hasRoom())) await clock.sleep(pauseMs, signal)
  signal.throwIfAborted()
}
