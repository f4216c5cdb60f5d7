import { termAt } from './log.ts'
import { type Message, message } from './message.ts'
import { send } from './outbox.ts'
import type { StepOutcome } from './outcome.ts'
import type { Raft } from './raft.ts'
import { addRead, confirmRound, hasUnsentReads, openRound } from './reads.ts'
import { broadcastHeartbeat, hasCommittedInTerm } from './replication.ts'
import { nobody } from './state.ts'
import { isSingleton } from './tracker.ts'

/** A linearizable read: it is answered with an index once this leader is known to have led after the read came. */
export function handleReadIndex(raft: Raft, m: Message): StepOutcome {
  const { reads } = raft
  if (reads.waiting.length + reads.early.length >= raft.options.maxWaitingReads) return 'dropped'
  if (isSingleton(raft.tracker.config)) answerRead(raft, m.from, m.context, raft.log.committed)
  else if (hasCommittedInTerm(raft)) askQuorum(raft, m.from, m.context)
  else reads.early.push({ from: m.from, context: m.context })
  return 'ok'
}

function askQuorum(raft: Raft, from: number, context: string): void {
  if (raft.options.reads === 'lease') answerRead(raft, from, context, raft.log.committed)
  else addRead(raft.reads, from, context, raft.log.committed)
}

function answerRead(raft: Raft, from: number, context: string, index: number): void {
  if (from === nobody || from === raft.options.id) {
    raft.readStates.push({ index, context })
    return
  }
  const answer = message('read-index-response', from)
  answer.index = index
  answer.context = context
  // Whoever reads would have to wait for the next heartbeat to apply it.
  if (!raft.options.tellCommitsAtOnce) {
    answer.commit = raft.log.committed
    answer.commitTerm = termAt(raft.log, raft.log.committed) ?? 0
  }
  send(raft, answer)
}

/** The commit index moved. If it reached this term, reads that came before that can be asked about now. */
export function releaseEarlyReads(raft: Raft): void {
  if (raft.reads.early.length === 0 || !hasCommittedInTerm(raft)) return
  const early = raft.reads.early
  raft.reads.early = []
  for (const { from, context } of early) askQuorum(raft, from, context)
}

/** All reads that came since the last bundle go out as one round. */
export function sendReadRound(raft: Raft): void {
  if (raft.role !== 'leader' || !hasUnsentReads(raft.reads)) return
  openRound(raft.reads, raft.options.id)
  broadcastHeartbeat(raft)
}

export function confirmReads(raft: Raft, from: number, round: number): void {
  for (const read of confirmRound(raft.reads, raft.tracker, from, round)) answerRead(raft, read.from, read.context, read.index)
}
