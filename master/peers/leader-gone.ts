import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import type { RaftHost } from '../consensus/host.ts'
import { message } from '../raft/message.ts'
import { nobody } from '../raft/state.ts'

/** Longer than an election takes on machines that are well, so that who comes first has won before the next one stands. */
const staggerMs = 25
const jitterMs = 4
const retryMs = 50
const attempts = 3

/**
 * The process that led has ended: there is no need to wait for an election timeout. The voters stand one after the other, by rank,
 * so that they do not split the vote; and again, since the others may not know yet that nobody leads.
 */
export async function standIfLed(
  host: RaftHost,
  gone: number,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
  signal: AbortSignal
): Promise<void> {
  const { raft } = host
  if (raft === undefined || raft.leader !== gone) return
  host.tell(message('forget-leader', 0))
  const others = raft.tracker.config.voters.incoming.filter((id) => id !== gone)
  const rank = Math.max(0, others.indexOf(raft.options.id))
  await pause(clock, rank * staggerMs + random.between(0, jitterMs), signal)
  for (let i = 0; i < attempts && !signal.aborted && host.raft?.leader === nobody; i += 1) {
    // Whoever has stood already is not helped by beginning again.
    if (host.raft.role === 'follower' || i === attempts - 1) host.tell(message('campaign', 0))
    await pause(clock, retryMs + random.between(0, jitterMs), signal)
  }
}

// Only the stop ends it early.
const pause = (clock: Clock, ms: number, signal: AbortSignal): Promise<void> => clock.sleep(ms, signal).catch(() => undefined)
