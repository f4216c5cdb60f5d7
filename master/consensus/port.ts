import type { Fault } from '../../base/fault.ts'
import type { Entry } from '../raft/entry.ts'
import type { Message } from '../raft/message.ts'
import type { Role } from '../raft/state.ts'
import type { ClusterState } from '../state/cluster.ts'
import type { Member, Membership } from './membership.ts'

export interface CommittedEntry {
  readonly entry: Entry
  /** The membership from this entry on, where it changed it. */
  readonly membership: Membership | undefined
}

/** A snapshot of another master, decoded and found sound. */
export interface ArrivedSnapshot {
  readonly state: ClusterState
  readonly index: number
  readonly term: number
  readonly membership: Membership
}

export interface Standing {
  readonly role: Role
  readonly term: number
  /** Raft id, 0 for nobody. */
  readonly leader: number
}

/** What the consensus tells the state machine. */
export interface ConsensusEvents {
  /** In the order of the log. `done` is called when all are applied; nothing more comes before that. */
  apply(entries: readonly CommittedEntry[], done: () => void): void
  /** Takes the place of the whole state. */
  restore(snapshot: ArrivedSnapshot): void
  /** Nothing is being written any more. */
  stored(): void
  standing(standing: Standing): void
  /** A read may be answered once `index` is applied. */
  readable(read: number, index: number): void
  /** A follower cannot go on from the newest snapshot. */
  snapshotWanted(): void
  /** The log cannot be written any more: nothing is decided here until the process has started anew. */
  failed(failure: Fault): void
}

/** Where proposals that were made together stand in the log, if they stay there; undefined: none was taken. */
export type Placed = { readonly firstIndex: number; readonly term: number } | undefined

/** The way to the other masters. It may lose, delay, double and reorder whatever it is given. */
export interface PeerTransport {
  send(messages: readonly Message[]): void
  /** Resolves when the peer has all of it; rejects where it cannot know. */
  sendSnapshot(m: Message, bytes: Uint8Array): Promise<void>
  /** Who there is to talk to, this master included. */
  membersAre(members: readonly Member[]): void
}

/** A master that is alone needs no way to others. */
export const noPeers: PeerTransport = {
  send: () => undefined,
  sendSnapshot: () => Promise.reject(new Error('there is no other master')),
  membersAre: () => undefined
}
