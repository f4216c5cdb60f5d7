import { type Entry, noEntries } from './entry.ts'
import { nobody, type Snapshot } from './state.ts'

export type MessageType =
  | 'append'
  | 'append-response'
  | 'heartbeat'
  | 'heartbeat-response'
  | 'snapshot'
  | 'vote'
  | 'vote-response'
  | 'pre-vote'
  | 'pre-vote-response'
  | 'timeout-now'
  | 'propose'
  | 'read-index'
  | 'read-index-response'
  | 'transfer-leader'
  // What follows never leaves the node.
  | 'campaign'
  | 'forget-leader'
  | 'unreachable'
  | 'snapshot-status'
  | 'storage-append'
  | 'storage-append-response'
  | 'storage-apply'
  | 'storage-apply-response'

/** The two threads of a host that writes asynchronously: they are addressed as if they were nodes. */
export const appendThread = -1
export const applyThread = -2

/** Every message has every field, so that all of them have one shape to the engine; which ones count depends on the type. */
export interface Message {
  readonly type: MessageType
  to: number
  from: number
  term: number
  /** append: term of the entry before the first one; vote: of the last entry; append-response with reject: of the hint. */
  logTerm: number
  index: number
  entries: readonly Entry[]
  commit: number
  /** With votes and their answers, and with answers to reads: term of the entry at `commit`. */
  commitTerm: number
  vote: number
  snapshot: Snapshot | undefined
  reject: boolean
  rejectHint: number
  /** Names a read for the one who asked. */
  context: string
  /** The round of reads that a heartbeat confirms, 0 for none. */
  readRound: number
  /** A vote asked for by the leader itself: followers that hear from that leader grant it all the same. */
  force: boolean
  /** To be sent when the thread has done the work of this message. */
  responses: readonly Message[]
}

const noResponses: readonly Message[] = []

export function message(type: MessageType, to: number): Message {
  return {
    type,
    to,
    from: nobody,
    term: 0,
    logTerm: 0,
    index: 0,
    entries: noEntries,
    commit: 0,
    commitTerm: 0,
    vote: nobody,
    snapshot: undefined,
    reject: false,
    rejectHint: 0,
    context: '',
    readRound: 0,
    force: false,
    responses: noResponses
  }
}

const local: ReadonlySet<MessageType> = new Set<MessageType>([
  'campaign',
  'forget-leader',
  'unreachable',
  'snapshot-status',
  'storage-append',
  'storage-append-response',
  'storage-apply',
  'storage-apply-response'
])

const responses: ReadonlySet<MessageType> = new Set<MessageType>([
  'append-response',
  'vote-response',
  'pre-vote-response',
  'heartbeat-response',
  'read-index-response',
  'unreachable',
  'storage-append-response',
  'storage-apply-response'
])

export const isThread = (id: number): boolean => id === appendThread || id === applyThread

/** A peer has no business sending such a message. */
export const isLocal = (type: MessageType): boolean => local.has(type)

/** Makes sense only from somebody whose progress we know. */
export const isResponse = (type: MessageType): boolean => responses.has(type)
