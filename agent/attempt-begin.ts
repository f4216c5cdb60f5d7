import type { Clock } from '../base/clock.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import { aborted } from './aborted.ts'
import type { BootClock } from './host/boot-time.ts'
import type { Ledger } from './ports.ts'
import { backoffLeftMs } from './restart.ts'

/** The attempt before, as the next one has to wait for it. */
export interface PreviousAttempt {
  readonly ended: AbortSignal
  readonly removed: AbortSignal
  readonly clean: boolean
  /** Takes down what is left; false where something is left still. */
  clear(): Promise<boolean>
}

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
