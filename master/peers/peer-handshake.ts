import { createHash, timingSafeEqual } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import type { PeerHello } from '../../proto/gen/messages.ts'
import { highestFeatureLevel } from '../state/cluster.ts'

/** Who one side of a connection between masters is. */
export interface PeerIdentity {
  readonly clusterId: string
  readonly raftId: number
  /** Of this life of the process: another one has forgotten what only memory held. */
  readonly incarnation: string
  /** Where others reach it; told to newcomers, who have no log yet that says so. */
  readonly address?: string
  /** Known to the masters of the cluster alone. */
  readonly token: string
}

/** What this build speaks; the two sides take the highest that both know. */
const protocol = { min: 1, max: 1 }

export const frameTypes = {
  hello: 1,
  message: 2,
  goodbye: 3,
  snapshotPart: 4,
  snapshotTaken: 5,
  invitation: 6,
  invitationAnswer: 7
} as const

/**
 * What a connection is for: messages of the core, unless it says otherwise. A tunnel is bytes from its hello on, to the operator API or
 * to the door for agents of the master that it leads to.
 */
export type Purpose = 'messages' | 'api' | 'agents' | 'invite'
export type TunnelPurpose = 'api' | 'agents'

/** One entry of the largest command, and what stands around it. */
export const maxPeerFrameBytes = 8 * 1024 * 1024

export interface HelloFacts {
  readonly purpose?: Purpose
  /** Of an answer to an invitation. */
  readonly nodeId?: string
  readonly agentAddress?: string
}

export const encodeHello = (
  { clusterId, raftId, incarnation, token, address = '' }: PeerIdentity,
  toRaftId: number,
  { purpose = 'messages', nodeId = '', agentAddress = '' }: HelloFacts = {}
): Uint8Array =>
  encodeMessage('PeerHello', {
    protocolMin: protocol.min,
    protocolMax: protocol.max,
    clusterId,
    raftId,
    incarnation,
    token,
    toRaftId,
    purpose: purpose === 'messages' ? '' : purpose,
    nodeId,
    agentAddress,
    address,
    featureLevel: highestFeatureLevel
  })

/** Throws a `Fault` that says why this is not the peer it should be. `expected` is 0 where any member may come. */
export function checkHello(bytes: Uint8Array, own: PeerIdentity, expected: number): PeerHello {
  const hello = decodeMessage('PeerHello', bytes)
  const { clusterId, raftId, toRaftId, purpose } = hello
  if (clusterId !== own.clusterId) throw new Fault('conflict', `a master of cluster ${clusterId} came; this is ${own.clusterId}`)
  checkStranger(hello, own)
  const isInvited = purpose === 'invite' && toRaftId === 0
  if (!isInvited && toRaftId !== own.raftId)
    throw new Fault('conflict', `master ${raftId} takes this one for ${toRaftId}; it is ${own.raftId}`)
  if (raftId === own.raftId || (expected !== 0 && raftId !== expected)) {
    throw new Fault('conflict', `a master says that it is ${raftId}, where ${expected} was expected`)
  }
  return hello
}

/** What is asked of whoever comes, a member or not yet one. */
export function checkStranger({ raftId, token, protocolMin, protocolMax }: PeerHello, own: { readonly token: string }): void {
  if (!isSame(token, own.token)) throw new Fault('denied', `master ${raftId} does not know the secret of this cluster`)
  if (protocolMin > protocol.max || protocolMax < protocol.min) {
    const theirs = `${protocolMin} to ${protocolMax}`
    throw new Fault(
      'unsupported',
      `master ${raftId} speaks ${theirs}, this one ${protocol.min} to ${protocol.max}: upgrade the older`
    )
  }
}

/** In a time that tells nothing of where the two differ. */
function isSame(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
