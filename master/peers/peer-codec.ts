import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import type { PeerMessage } from '../../proto/gen/messages.ts'
import { type Membership, membershipMessage, readMembership } from '../consensus/membership.ts'
import { entryTypes } from '../raft/entry.ts'
import { type Message, type MessageType, message } from '../raft/message.ts'
import type { Snapshot } from '../raft/state.ts'

/** Never reorder: the place is the number on the wire, from 1 on. */
const types: readonly MessageType[] = [
  'append',
  'append-response',
  'heartbeat',
  'heartbeat-response',
  'snapshot',
  'vote',
  'vote-response',
  'pre-vote',
  'pre-vote-response',
  'timeout-now',
  'propose',
  'read-index',
  'read-index-response',
  'transfer-leader'
]

/** A snapshot goes without its data, whose length is told instead. */
export function encodePeerMessage(m: Message, snapshotBytes = 0): Uint8Array {
  const { type, entries, snapshot, responses: _, ...plain } = m
  return encodeMessage('PeerMessage', {
    ...plain,
    type: types.indexOf(type) + 1,
    entries: entries.map((entry) => ({ ...entry, type: entryTypes.indexOf(entry.type) })),
    snapshot: snapshot === undefined ? null : snapshotOf(snapshot, snapshotBytes)
  })
}

const snapshotOf = ({ index, term, confState }: Snapshot, bytes: number) => ({
  index,
  term,
  // The host made it of a membership; names matter to nobody here, they are in the snapshot itself.
  membership: membershipMessage({ members: [], highestRaftId: 0, ...confState } as Membership),
  bytes
})

/** Throws `Fault('invalid')` for what no master sends. `snapshotBytes` is what is still to come. */
export function decodePeerMessage(bytes: Uint8Array): { readonly message: Message; readonly snapshotBytes: number } {
  const read = decodeMessage('PeerMessage', bytes)
  const type = types[read.type - 1]
  if (type === undefined) throw new Fault('invalid', `a peer sends a message of the unknown type ${read.type}`)
  const m = message(type, read.to)
  const { from, term, logTerm, index, commit, commitTerm, vote, reject, rejectHint, context, readRound, force } = read
  Object.assign(m, { from, term, logTerm, index, commit, commitTerm, vote, reject, rejectHint, context, readRound, force })
  // A copy: the data is a window onto whatever came with it.
  m.entries = read.entries.map((e) => ({ ...e, type: entryTypes[e.type] ?? 'normal', data: new Uint8Array(e.data) }))
  m.snapshot = snapshotIn(read)
  return { message: m, snapshotBytes: read.snapshot?.bytes ?? 0 }
}

function snapshotIn({ snapshot }: PeerMessage): Snapshot | undefined {
  if (snapshot === null) return undefined
  const { index, term, membership } = snapshot
  if (membership === null) throw new Fault('invalid', 'a peer sends a snapshot without its members')
  return { index, term, confState: readMembership(membership), data: new Uint8Array() }
}
