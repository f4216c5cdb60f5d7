import { assert } from './invariant.ts'
import { type Message, type MessageType, message } from './message.ts'
import type { Raft } from './raft.ts'
import { nobody } from './state.ts'

const setOwnTerm: ReadonlySet<MessageType> = new Set<MessageType>(['vote', 'vote-response', 'pre-vote', 'pre-vote-response'])
/** Forwarded for somebody else: it stands outside terms. */
const withoutTerm: ReadonlySet<MessageType> = new Set<MessageType>(['propose', 'read-index'])
/**
 * Promises: a vote that is forgotten is cast twice, an entry that is acknowledged and lost may have been counted for a commit.
 * Refusals wait too: they are rare, and that they need not has never been shown.
 */
const promises: ReadonlySet<MessageType> = new Set<MessageType>(['append-response', 'vote-response', 'pre-vote-response'])

/** Puts a message into the next bundle, or behind the writes that it promises. */
export function send(raft: Raft, m: Message): void {
  if (m.from === nobody) m.from = raft.options.id
  if (setOwnTerm.has(m.type)) assert(m.term !== 0, `a ${m.type} without a term`)
  else {
    assert(m.term === 0, `the term of a ${m.type} is not the sender's to choose`)
    if (!withoutTerm.has(m.type)) m.term = raft.term
  }
  if (promises.has(m.type)) {
    raft.messagesAfterAppend.push(m)
    return
  }
  assert(m.to !== raft.options.id, `a ${m.type} to oneself`)
  raft.messages.push(m)
}

/** What the follower's log is known to share with the leader's. */
export function sendAppendResponse(raft: Raft, to: number, index: number): void {
  const m = message('append-response', to)
  m.index = index
  send(raft, m)
}
