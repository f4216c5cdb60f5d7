import { acceptApplying, hasNextCommitted, nextCommitted } from './applying.ts'
import { type Entry, entriesBytes } from './entry.ts'
import { sendReadRound } from './leader-reads.ts'
import { lastIndexOf, lastTermOf } from './log.ts'
import { appendThread, applyThread, type Message, message } from './message.ts'
import type { Raft } from './raft.ts'
import { hasUnsentReads } from './reads.ts'
import type { HardState, ReadState, Snapshot, SoftState } from './state.ts'
import { act } from './step.ts'
import { acceptInProgress, hasNextUnstableEntries, nextUnstableEntries, nextUnstableSnapshot } from './unstable.ts'

/**
 * One bundle of work. A host that writes synchronously stores hard state, entries and snapshot (durably, where `mustSync`), sends
 * the messages, applies the committed entries and calls `advance`. With `asyncStorageWrites` all of that is in `messages`, as
 * messages to the two threads; the rest is for information, and `advance` is not called. The append thread may install a snapshot
 * that overtakes entries still with the apply thread: those are skipped, and answered all the same.
 */
export interface Ready {
  /** Set where it changed. */
  readonly softState: SoftState | undefined
  readonly hardState: HardState | undefined
  readonly readStates: readonly ReadState[]
  readonly entries: readonly Entry[]
  readonly snapshot: Snapshot | undefined
  readonly committedEntries: readonly Entry[]
  readonly messages: readonly Message[]
  readonly mustSync: boolean
}

const softStateOf = (raft: Raft): SoftState => ({ leader: raft.leader, role: raft.role })
const hardStateOf = (raft: Raft): HardState => ({ term: raft.term, vote: raft.vote, commit: raft.log.committed })

function softStateChanged({ lastSoftState, leader, role }: Raft): boolean {
  return lastSoftState.leader !== leader || lastSoftState.role !== role
}

function hardStateChanged({ lastHardState, term, vote, log }: Raft): boolean {
  return lastHardState.term !== term || lastHardState.vote !== vote || lastHardState.commit !== log.committed
}

export function hasReady(raft: Raft): boolean {
  if (softStateChanged(raft) || hardStateChanged(raft)) return true
  if (raft.messages.length > 0 || raft.messagesAfterAppend.length > 0 || raft.readStates.length > 0) return true
  const { log } = raft
  if (nextUnstableSnapshot(log.unstable) !== undefined || hasNextUnstableEntries(log.unstable)) return true
  return hasNextCommitted(log, !raft.options.asyncStorageWrites) || (raft.role === 'leader' && hasUnsentReads(raft.reads))
}

/** Takes everything out that there is to do. With synchronous writes the one before must have been advanced. */
export function takeReady(raft: Raft): Ready {
  sendReadRound(raft)
  const { log, options } = raft
  const hardState = hardStateChanged(raft) ? hardStateOf(raft) : undefined
  const entries = nextUnstableEntries(log.unstable)
  const votes =
    hardState !== undefined && (hardState.term !== raft.lastHardState.term || hardState.vote !== raft.lastHardState.vote)
  const work = {
    softState: softStateChanged(raft) ? softStateOf(raft) : undefined,
    hardState,
    readStates: raft.readStates,
    entries,
    snapshot: nextUnstableSnapshot(log.unstable),
    committedEntries: nextCommitted(log, !options.asyncStorageWrites),
    mustSync: entries.length > 0 || votes
  }
  const messages = options.asyncStorageWrites ? withStorageMessages(raft, work) : withAnswersToOthers(raft, work)
  accept(raft, work)
  return { ...work, messages }
}

type Work = Omit<Ready, 'messages'>

/** The host sends them after it has stored the bundle, so promises may go with the rest. What is for ourselves waits for `advance`. */
function withAnswersToOthers(raft: Raft, work: Work): readonly Message[] {
  const { messages, messagesAfterAppend, options } = raft
  raft.stepsOnAdvance = messagesAfterAppend.filter((m) => m.to === options.id)
  const stored = storageAppendResponse(raft, work)
  if (stored !== undefined) raft.stepsOnAdvance.push(stored)
  if (work.committedEntries.length > 0) raft.stepsOnAdvance.push(storageApplyResponse(raft, work.committedEntries))
  if (messagesAfterAppend.length === 0) return messages
  return [...messages, ...messagesAfterAppend.filter((m) => m.to !== options.id)]
}

function withStorageMessages(raft: Raft, work: Work): readonly Message[] {
  const { messages } = raft
  const write = storageAppend(raft, work)
  if (write !== undefined) messages.push(write)
  if (work.committedEntries.length > 0) {
    const apply = message('storage-apply', applyThread)
    apply.from = raft.options.id
    apply.entries = work.committedEntries
    apply.responses = [storageApplyResponse(raft, work.committedEntries)]
    messages.push(apply)
  }
  return messages
}

function storageAppend(raft: Raft, work: Work): Message | undefined {
  const { hardState, entries, snapshot } = work
  const { messagesAfterAppend } = raft
  if (hardState === undefined && snapshot === undefined && entries.length + messagesAfterAppend.length === 0) return undefined
  const write = message('storage-append', appendThread)
  write.from = raft.options.id
  write.entries = entries
  write.snapshot = snapshot
  if (hardState !== undefined) {
    write.term = hardState.term
    write.vote = hardState.vote
    write.commit = hardState.commit
  }
  const stored = storageAppendResponse(raft, work)
  write.responses = stored === undefined ? messagesAfterAppend : [...messagesAfterAppend, stored]
  return write
}

/**
 * Says that all of the log up to its present end is stable. Carried with every write while any entry is under way, and valid only
 * in this term: a write of an earlier one may land after the entries were replaced, and then replaced back (the ABA of a log).
 */
function storageAppendResponse(raft: Raft, { snapshot }: Work): Message | undefined {
  const { log } = raft
  const hasUnstable = log.unstable.entries.length > 0
  if (!hasUnstable && snapshot === undefined) return undefined
  const m = message('storage-append-response', raft.options.id)
  m.from = appendThread
  m.term = raft.term
  if (hasUnstable) {
    m.index = lastIndexOf(log)
    m.logTerm = lastTermOf(log)
  }
  m.snapshot = snapshot
  return m
}

function storageApplyResponse(raft: Raft, entries: readonly Entry[]): Message {
  const m = message('storage-apply-response', raft.options.id)
  m.from = applyThread
  m.entries = entries
  return m
}

function accept(raft: Raft, work: Work): void {
  if (work.softState !== undefined) raft.lastSoftState = work.softState
  if (work.hardState !== undefined) raft.lastHardState = work.hardState
  if (work.readStates.length > 0) raft.readStates = []
  raft.messages = []
  raft.messagesAfterAppend = []
  acceptInProgress(raft.log.unstable)
  const last = work.committedEntries.at(-1)
  if (last === undefined) return
  acceptApplying(raft.log, last.index, entriesBytes(work.committedEntries), !raft.options.asyncStorageWrites)
}

/** The host has done all of the last bundle. Only with synchronous writes. */
export function advance(raft: Raft): void {
  const steps = raft.stepsOnAdvance
  raft.stepsOnAdvance = []
  for (const m of steps) act(raft, m)
}
