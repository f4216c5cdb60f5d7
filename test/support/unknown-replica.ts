import type { Random } from '../../base/random.ts'
import type { ProposeOutcome, Replica } from '../../master/replica.ts'

/**
 * A replica that often does not know: of ten proposals about two are lost, two are applied with the answer lost, and one has
 * its answer lost at once and is applied later.
 */
export function unknownReplica(inner: Replica, random: Random): Replica {
  return {
    leadership: inner.leadership,
    read: (signal) => inner.read(signal),
    changes: (fromIndex, signal) => inner.changes(fromIndex, signal),
    async propose(session, seq, command, signal): Promise<ProposeOutcome> {
      const draw = random.between(0, 9)
      if (draw < 2 && inner.leadership.leading) return { kind: 'unknown' }
      const outcome = inner.propose(session, seq, command, signal)
      if (draw === 2 && inner.leadership.leading) return { kind: 'unknown' }
      const known = await outcome
      return draw < 5 && known.kind === 'applied' ? { kind: 'unknown' } : known
    }
  }
}
