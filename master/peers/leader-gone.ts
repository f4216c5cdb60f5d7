import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import type { RaftHost } from '../consensus/host.ts'
import { message } from '../raft/message.ts'
import { nobody } from '../raft/state.ts'

/** Longer than an election takes on machines that are well, so that who comes first has won before the next one stands. */
const staggerMs = 25
const jitterMs = 3
/** A question costs nobody a write. It goes unanswered by whoever has not noticed yet, which is a matter of milliseconds. */
const askAgainMs = 8
/** What an election takes where the disk is slow. Two that stood at once have split the votes, and nobody wins by waiting longer. */
const electionMs = 60
const rounds = 5

/**
 * The process that led has ended: there is no need to wait for an election timeout. The voters stand one after the other, by rank,
 * so that they do not split the vote; and again, should they have done so all the same.
 */
export async function standIfLed(
  host: Pick<RaftHost, 'raft' | 'tell'>,
  gone: number,
  { clock, random }: { readonly clock: Pick<Clock, 'sleep'>; readonly random: Random },
  signal: AbortSignal
): Promise<void> {
  const { raft } = host
  if (raft === undefined || raft.leader !== gone) return
  host.tell(message('forget-leader', 0))
  const others = raft.tracker.config.voters.incoming.filter((id) => id !== gone)
  const rank = Math.max(0, others.indexOf(raft.options.id))
  const pause = (ms: number): Promise<void> => clock.sleep(ms + random.between(0, jitterMs), signal).catch(() => undefined) // by the stop
  for (let round = 0; round < rounds && isLeaderless(host, signal); round += 1) {
    // Not even for a timer's turn, where there is nothing to wait for.
    if (round + rank > 0) await pause(rank * staggerMs)
    const term = host.raft?.term
    for (let asked = 0; asked * askAgainMs < electionMs && isLeaderless(host, signal) && host.raft?.term === term; asked += 1) {
      host.tell(message('campaign', 0))
      await pause(askAgainMs)
    }
    // Somebody is being voted for, this one or another: not helped by beginning again.
    if (isLeaderless(host, signal)) await pause(electionMs)
  }
}

const isLeaderless = ({ raft }: Pick<RaftHost, 'raft'>, signal: AbortSignal): boolean =>
  !signal.aborted && raft?.leader === nobody
