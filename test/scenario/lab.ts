import { seededRandom } from '../../base/random.ts'
import { decodeConfChange } from '../../master/raft/conf-change-codec.ts'
import type { Entry } from '../../master/raft/entry.ts'
import { applyConfChange } from '../../master/raft/membership.ts'
import { appendThread, applyThread, isThread, type Message } from '../../master/raft/message.ts'
import { newRaft } from '../../master/raft/node.ts'
import type { Raft, RaftOptions } from '../../master/raft/raft.ts'
import { advance, takeReady } from '../../master/raft/ready.ts'
import type { ConfState, HardState, Snapshot } from '../../master/raft/state.ts'
import { confStateOf } from '../../master/raft/tracker.ts'
import { describeMessage, describeReady } from './describe.ts'
import { ScenarioRefused } from './format.ts'
import { MemoryStorage } from './memory-storage.ts'
import type { Transcript } from './transcript.ts'

export type LabOptions = Omit<RaftOptions, 'id' | 'chance'>

export const labOptions: LabOptions = {
  electionTicks: 3,
  heartbeatTicks: 1,
  preVote: false,
  checkQuorum: false,
  reads: 'quorum',
  maxMessageBytes: Number.MAX_SAFE_INTEGER,
  maxInflightMessages: 2 ** 31 - 1,
  maxInflightBytes: Number.MAX_SAFE_INTEGER,
  maxUncommittedBytes: Number.MAX_SAFE_INTEGER,
  maxApplyingBytes: Number.MAX_SAFE_INTEGER,
  maxWaitingReads: 1000,
  forwardProposals: true,
  stepDownOnRemoval: false,
  tellCommitInVotes: false,
  tellCommitsAtOnce: true,
  validateConfChanges: true,
  asyncStorageWrites: false
}

/** One node with a disk in memory and a state machine that strings its commands together. */
export interface LabNode {
  raft: Raft
  readonly storage: MemoryStorage
  /** A snapshot for every applied index. */
  readonly history: Snapshot[]
  readonly appendWork: Message[]
  readonly applyWork: Message[]
}

/** Cluster, network and disks of one scenario, moved only by its commands. */
export class Lab {
  readonly nodes: LabNode[] = []
  /** Everything sent and not delivered, oldest first. */
  messages: Message[] = []
  readonly #out: Transcript

  constructor(out: Transcript) {
    this.#out = out
  }

  node(id: number): LabNode {
    const node = this.nodes[id - 1]
    if (node === undefined) throw new ScenarioRefused(`there is no node ${id}`)
    return node
  }

  /** Adds a node that starts from `snapshot`, or from nothing. */
  addNode(options: LabOptions, snapshot: Snapshot | undefined): void {
    const id = this.nodes.length + 1
    const history: Snapshot[] = []
    const storage = new MemoryStorage(() => history.at(-1))
    if (snapshot !== undefined) storage.install(snapshot)
    const { confState } = storage.initialState()
    history.push(snapshot ?? { index: 0, term: 0, confState, data: new Uint8Array(0) })
    const raft = newRaft({ ...options, id, chance: seededRandom(id) }, storage, snapshot?.index ?? 0)
    this.nodes.push({ raft, storage, history, appendWork: [], applyWork: [] })
  }

  /** A crash: all that is not in storage is lost, the state machine is as its last snapshot has it. */
  restart(id: number): void {
    const node = this.node(id)
    const applied = node.history.at(-1)
    if (applied !== undefined && applied.index >= node.storage.firstIndex() - 1) node.storage.remember(applied.confState)
    node.appendWork.length = 0
    node.applyWork.length = 0
    node.raft = newRaft(node.raft.options, node.storage, applied?.index ?? 0)
  }

  processReady(id: number): void {
    const node = this.node(id)
    const isAsync = node.raft.options.asyncStorageWrites
    const ready = takeReady(node.raft)
    this.#out.write(describeReady(ready))
    if (!isAsync) {
      store(node, ready.hardState, ready.entries, ready.snapshot)
      applyEntries(node, ready.committedEntries)
    }
    for (const m of ready.messages) {
      if (!isThread(m.to)) this.messages.push(m)
      else (m.to === appendThread ? node.appendWork : node.applyWork).push(m)
    }
    if (!isAsync) advance(node.raft)
  }

  /** One piece of work of the append or the apply thread. */
  processThread(id: number, thread: typeof appendThread | typeof applyThread): void {
    const node = this.node(id)
    const work = (thread === appendThread ? node.appendWork : node.applyWork).shift()
    if (work === undefined) {
      this.#out.write(`no ${thread === appendThread ? 'append' : 'apply'} work to perform`)
      return
    }
    const { responses } = work
    this.#out.write(`Processing:\n${describeMessage({ ...work, responses: [] })}\n`)
    if (thread === applyThread) applyEntries(node, work.entries)
    else store(node, { term: work.term, vote: work.vote, commit: work.commit }, work.entries, work.snapshot)
    this.#out.write(`Responses:\n${responses.map((m) => `${describeMessage(m)}\n`).join('')}`)
    this.messages.push(...responses)
  }

  /** Takes messages to `to` off the network, in the order in which they were sent. */
  take(to: number, matches: (m: Message) => boolean): readonly Message[] {
    const isTaken = (m: Message) => m.to === to && matches(m)
    const taken = this.messages.filter(isTaken)
    if (taken.length > 0) this.messages = this.messages.filter((m) => !isTaken(m))
    return taken
  }
}

function store(node: LabNode, hard: HardState | undefined, entries: readonly Entry[], snapshot: Snapshot | undefined): void {
  if (hard !== undefined && hard.term + hard.vote + hard.commit > 0) node.storage.hardState = hard
  if (snapshot === undefined) node.storage.append(entries)
  else if (entries.length > 0) throw new Error('a bundle with a snapshot and entries')
  else node.storage.install(snapshot)
}

function applyEntries(node: LabNode, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const change = decodeConfChange(entry.type, entry.data)
    const update = change === undefined ? entry.data : change.context
    const before = node.history.at(-1)
    const changed = change === undefined ? undefined : applyConfChange(node.raft, change).confState
    const confState: ConfState = changed ?? before?.confState ?? confStateOf(node.raft.tracker.config)
    const data = Buffer.concat([before?.data ?? Buffer.alloc(0), update])
    node.history.push({ index: entry.index, term: entry.term, confState, data })
  }
}
