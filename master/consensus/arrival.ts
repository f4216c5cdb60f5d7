import { Fault } from '../../base/fault.ts'
import type { Snapshot } from '../raft/state.ts'
import { SnapshotDecoder } from '../state/snapshot.ts'
import { messagesIn } from '../store/snapshots.ts'
import { readMembership } from './membership.ts'
import type { ArrivedSnapshot } from './port.ts'

/**
 * Pauses after each message of the snapshot: the whole of it would take the event loop longer than an election. Throws
 * `Fault('corrupt')` where the bytes are not the snapshot that they are said to be.
 */
export function* decodeArrived({ index, term, data }: Snapshot, clusterId: string): Generator<undefined, ArrivedSnapshot> {
  const decoder = new SnapshotDecoder()
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
  for (const message of messagesIn('the snapshot that was sent', bytes)) {
    decoder.push(message)
    yield
  }
  const { state, head } = decoder.finish()
  const isSame = head.index === index && head.term === term && head.membership !== null
  if (!isSame || head.membership === null) throw new Fault('corrupt', `a snapshot of ${head.index} came as one of ${index}`)
  if (head.clusterId !== '' && head.clusterId !== clusterId) {
    throw new Fault('conflict', `a snapshot of cluster ${head.clusterId} came, this is cluster ${clusterId}`)
  }
  return { state, index, term, membership: readMembership(head.membership) }
}
