import type { ConfChangeSingle, ConfChangeType } from '../../master/raft/conf-change.ts'
import { decodeConfChange } from '../../master/raft/conf-change-codec.ts'
import type { Entry } from '../../master/raft/entry.ts'
import { appendThread, applyThread, type Message, type MessageType } from '../../master/raft/message.ts'
import { isPaused, type Progress } from '../../master/raft/progress.ts'
import type { Ready } from '../../master/raft/ready.ts'
import type { ConfState, HardState, Role, Snapshot } from '../../master/raft/state.ts'
import type { Configuration } from '../../master/raft/tracker.ts'
import { ScenarioRefused, wholeNumber } from './format.ts'

/** The words of the scenario language for what our core calls by its own names. */
export const messageNames: Readonly<Record<MessageType, string>> = {
  append: 'MsgApp',
  'append-response': 'MsgAppResp',
  heartbeat: 'MsgHeartbeat',
  'heartbeat-response': 'MsgHeartbeatResp',
  snapshot: 'MsgSnap',
  vote: 'MsgVote',
  'vote-response': 'MsgVoteResp',
  'pre-vote': 'MsgPreVote',
  'pre-vote-response': 'MsgPreVoteResp',
  'timeout-now': 'MsgTimeoutNow',
  propose: 'MsgProp',
  'read-index': 'MsgReadIndex',
  'read-index-response': 'MsgReadIndexResp',
  'transfer-leader': 'MsgTransferLeader',
  campaign: 'MsgHup',
  'forget-leader': 'MsgForgetLeader',
  unreachable: 'MsgUnreachable',
  'snapshot-status': 'MsgSnapStatus',
  'storage-append': 'MsgStorageAppend',
  'storage-append-response': 'MsgStorageAppendResp',
  'storage-apply': 'MsgStorageApply',
  'storage-apply-response': 'MsgStorageApplyResp'
}

export const roleNames: Readonly<Record<Role, string>> = {
  follower: 'StateFollower',
  'pre-candidate': 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader'
}

const entryNames: Readonly<Record<Entry['type'], string>> = {
  normal: 'EntryNormal',
  'conf-change': 'EntryConfChange',
  'conf-change-v2': 'EntryConfChangeV2'
}

const progressNames: Readonly<Record<Progress['state'], string>> = {
  probe: 'StateProbe',
  replicate: 'StateReplicate',
  snapshot: 'StateSnapshot'
}

const changeLetters: Readonly<Record<ConfChangeType, string>> = {
  'add-voter': 'v',
  'add-learner': 'l',
  remove: 'r',
  update: 'u'
}

export function changesFrom(text: string): readonly ConfChangeSingle[] {
  const words = text.split(/\s+/).filter((word) => word !== '')
  return words.map((word) => {
    const type = (Object.keys(changeLetters) as ConfChangeType[]).find((t) => changeLetters[t] === word[0])
    if (type === undefined) throw new ScenarioRefused(`"${word}" is no membership change`)
    return { type, nodeId: wholeNumber(word.slice(1)) }
  })
}

/** As a quoted string with the escapes of C. */
function quoted(data: Uint8Array): string {
  return JSON.stringify(Buffer.from(data).toString('utf8'))
}

function describePayload({ type, data }: Entry): string {
  if (type === 'normal') return ` ${quoted(data)}`
  const change = decodeConfChange(type, data)
  const text = change?.changes.map((c) => `${changeLetters[c.type]}${c.nodeId}`).join(' ') ?? 'unreadable'
  return text === '' ? '' : ` ${text}`
}

export const describeEntry = (entry: Entry): string =>
  `${entry.term}/${entry.index} ${entryNames[entry.type]}${describePayload(entry)}`

export const describeEntries = (entries: readonly Entry[]): string => entries.map((e) => `${describeEntry(e)}\n`).join('')

const ids = (list: readonly number[]): string => `[${list.join(' ')}]`

const describeConfState = (s: ConfState): string =>
  `Voters:${ids(s.voters)} VotersOutgoing:${ids(s.votersOutgoing)} Learners:${ids(s.learners)} ` +
  `LearnersNext:${ids(s.learnersNext)} AutoLeave:${s.autoLeave}`

const describeSnapshot = (s: Snapshot): string => `Index:${s.index} Term:${s.term} ConfState:${describeConfState(s.confState)}`

const describeHardState = ({ term, vote, commit }: HardState): string =>
  `Term:${term}${vote === 0 ? '' : ` Vote:${vote}`} Commit:${commit}`

function describeTarget(id: number): string {
  if (id === appendThread) return 'AppendThread'
  if (id === applyThread) return 'ApplyThread'
  return id === 0 ? 'None' : id.toString(16)
}

function describeMessageEntries(entries: readonly Entry[], indent: string): string {
  const [first] = entries
  if (first === undefined) return ''
  if (entries.length === 1) return ` Entries:[${describeEntry(first)}]`
  return ` Entries:[${entries.map((e) => `\n${indent}  ${describeEntry(e)}`).join('')}\n${indent}]`
}

export function describeMessage(m: Message, indent = ''): string {
  const head = `${indent}${describeTarget(m.from)}->${describeTarget(m.to)} ${messageNames[m.type]} Term:${m.term} Log:${m.logTerm}/${m.index}`
  const responses = m.responses.map((r) => `\n${describeMessage(r, `${indent}  `)}`).join('')
  return [
    head,
    m.reject ? ` Rejected (Hint: ${m.rejectHint})` : '',
    m.commit === 0 ? '' : ` Commit:${m.commit}`,
    m.vote === 0 ? '' : ` Vote:${m.vote}`,
    describeMessageEntries(m.entries, indent),
    m.snapshot === undefined || m.snapshot.index === 0 ? '' : `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`,
    responses === '' ? '' : ` Responses:[${responses}\n${indent}]`
  ].join('')
}

export function describeReady(ready: Ready): string {
  const { softState, hardState, readStates, entries, snapshot, committedEntries, messages } = ready
  const reads = readStates.map((r) => `{${r.index} [${[...Buffer.from(r.context)].join(' ')}]}`).join(' ')
  const text = [
    softState === undefined ? '' : `Lead:${softState.leader} State:${roleNames[softState.role]}\n`,
    hardState === undefined ? '' : `HardState ${describeHardState(hardState)}\n`,
    reads === '' ? '' : `ReadStates [${reads}]\n`,
    entries.length === 0 ? '' : `Entries:\n${describeEntries(entries)}`,
    snapshot === undefined ? '' : `Snapshot ${describeSnapshot(snapshot)}\n`,
    committedEntries.length === 0 ? '' : `CommittedEntries:\n${describeEntries(committedEntries)}`,
    messages.length === 0 ? '' : `Messages:\n${messages.map((m) => `${describeMessage(m)}\n`).join('')}`
  ].join('')
  return text === '' ? '<empty Ready>' : `Ready MustSync=${ready.mustSync}:\n${text}`
}

const majority = (voters: readonly number[]): string => `(${voters.join(' ')})`

export function describeConfiguration({ voters, learners, learnersNext, autoLeave }: Configuration): string {
  const outgoing = voters.outgoing.length === 0 ? '' : `&&${majority(voters.outgoing)}`
  return [
    `voters=${majority(voters.incoming)}${outgoing}`,
    learners.length === 0 ? '' : ` learners=${majority(learners)}`,
    learnersNext.length === 0 ? '' : ` learners_next=${majority(learnersNext)}`,
    autoLeave ? ' autoleave' : ''
  ].join('')
}

function describeProgress(p: Progress): string {
  return [
    `${progressNames[p.state]} match=${p.match} next=${p.next}`,
    p.isLearner ? ' learner' : '',
    isPaused(p) ? ' paused' : '',
    p.pendingSnapshot > 0 ? ` pendingSnap=${p.pendingSnapshot}` : '',
    p.recentActive ? '' : ' inactive',
    p.inflights.count > 0 ? ` inflight=${p.inflights.count}${p.inflights.isFull() ? '[full]' : ''}` : ''
  ].join('')
}

export const describeProgressMap = (progress: ReadonlyMap<number, Progress>): string =>
  [...progress]
    .sort(([a], [b]) => a - b)
    .map(([id, p]) => `${id}: ${describeProgress(p)}\n`)
    .join('')
