import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import type { PeerMessage } from '../../proto/gen/messages.ts'
import { type Membership, membershipMessage, readMembership } from '../consensus/membership.ts'
import { type Entry, entryTypes } from '../raft/entry.ts'
import { type Message, type MessageType, message } from '../raft/message.ts'
import type { Snapshot } from '../raft/state.ts'
import { entryBytes, varintBytes, writeEntry, writeVarint } from '../store/entry-bytes.ts'

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

/** What is sent of one message: `entries` follow right after `head`, and may be the same bytes for several masters. */
export interface EncodedMessage {
  readonly head: Uint8Array
  readonly entries: Uint8Array
}

/** For the messages of one turn: entries that go to several masters are encoded once. */
export class PeerEncoder {
  #encoded: { readonly entries: readonly Entry[]; readonly bytes: Uint8Array } | undefined

  /** A snapshot goes without its data, whose length is told instead. */
  encode(m: Message, snapshotBytes = 0): EncodedMessage {
    const { type, entries, snapshot, responses: _, ...plain } = m
    const head = encodeMessage('PeerMessage', {
      ...plain,
      type: types.indexOf(type) + 1,
      snapshot: snapshot === undefined ? null : snapshotOf(snapshot, snapshotBytes)
    })
    return { head, entries: entries.length === 0 ? nothing : this.#entries(entries) }
  }

  #entries(entries: readonly Entry[]): Uint8Array {
    const before = this.#encoded
    // Runs of one log, whose entries are never changed: the ends tell what lies between.
    if (before !== undefined && isSame(before.entries, entries)) return before.bytes
    const bytes = encodeEntries(entries)
    this.#encoded = { entries, bytes }
    return bytes
  }
}

const nothing = new Uint8Array()

const isSame = (some: readonly Entry[], others: readonly Entry[]): boolean =>
  some.length === others.length && some[0] === others[0] && some.at(-1) === others.at(-1)

/** Tag of `entries` in PeerMessage. */
const entriesTag = 0x72

function encodeEntries(entries: readonly Entry[]): Uint8Array {
  let total = 0
  for (const entry of entries) {
    const length = entryBytes(entry, entryTypes.indexOf(entry.type))
    total += 1 + varintBytes(length) + length
  }
  const bytes = Buffer.allocUnsafe(total)
  let at = 0
  for (const entry of entries) {
    const type = entryTypes.indexOf(entry.type)
    bytes[at] = entriesTag
    at = writeEntry(bytes, writeVarint(bytes, at + 1, entryBytes(entry, type)), entry, type)
  }
  return bytes
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
  // Their data stay windows onto what came in one piece: it is let go of in one piece as well.
  m.entries = read.entries.map(({ term, index, type: kind, data }) => ({ term, index, type: entryTypes[kind] ?? 'normal', data }))
  m.snapshot = snapshotIn(read)
  return { message: m, snapshotBytes: read.snapshot?.bytes ?? 0 }
}

function snapshotIn({ snapshot }: PeerMessage): Snapshot | undefined {
  if (snapshot === null) return undefined
  const { index, term, membership } = snapshot
  if (membership === null) throw new Fault('invalid', 'a peer sends a snapshot without its members')
  return { index, term, confState: readMembership(membership), data: new Uint8Array() }
}
