import { createHash, timingSafeEqual } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import type { PeerHello } from '../../proto/gen/messages.ts'

/** Who one side of a connection between masters is. */
export interface PeerIdentity {
  readonly clusterId: string
  readonly raftId: number
  /** Of this life of the process: another one has forgotten what only memory held. */
  readonly incarnation: string
  /** Known to the masters of the cluster alone. */
  readonly token: string
}

/** What this build speaks; the two sides take the highest that both know. */
const protocol = { min: 1, max: 1 }

export const frameTypes = { hello: 1, message: 2, goodbye: 3, snapshotPart: 4, snapshotTaken: 5 } as const

/** One entry of the largest command, and what stands around it. */
export const maxPeerFrameBytes = 8 * 1024 * 1024

export const encodeHello = ({ clusterId, raftId, incarnation, token }: PeerIdentity, toRaftId: number): Uint8Array =>
  encodeMessage('PeerHello', {
    protocolMin: protocol.min,
    protocolMax: protocol.max,
    clusterId,
    raftId,
    incarnation,
    token,
    toRaftId
  })

/** Throws a `Fault` that says why this is not the peer it should be. `expected` is 0 where any member may come. */
export function checkHello(bytes: Uint8Array, own: PeerIdentity, expected: number): PeerHello {
  const hello = decodeMessage('PeerHello', bytes)
  const { clusterId, raftId, toRaftId, protocolMin, protocolMax, token } = hello
  if (clusterId !== own.clusterId) throw new Fault('conflict', `a master of cluster ${clusterId} came; this is ${own.clusterId}`)
  if (!isSame(token, own.token)) throw new Fault('denied', `master ${raftId} does not know the secret of this cluster`)
  if (toRaftId !== own.raftId) throw new Fault('conflict', `master ${raftId} takes this one for ${toRaftId}; it is ${own.raftId}`)
  if (raftId === own.raftId || (expected !== 0 && raftId !== expected)) {
    throw new Fault('conflict', `a master says that it is ${raftId}, where ${expected} was expected`)
  }
  if (protocolMin > protocol.max || protocolMax < protocol.min) {
    const theirs = `${protocolMin} to ${protocolMax}`
    throw new Fault(
      'unsupported',
      `master ${raftId} speaks ${theirs}, this one ${protocol.min} to ${protocol.max}: upgrade the older`
    )
  }
  return hello
}

/** In a time that tells nothing of where the two differ. */
function isSame(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
