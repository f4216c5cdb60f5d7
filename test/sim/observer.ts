import type { Membership } from '../../master/consensus/membership.ts'
import type { Entry } from '../../master/raft/entry.ts'
import type { Message } from '../../master/raft/message.ts'
import { jointCommittedIndex, jointVoters } from '../../master/raft/quorum.ts'
import type { Raft } from '../../master/raft/raft.ts'
import type { ConfState } from '../../master/raft/state.ts'
import type { ClusterState } from '../../master/state/cluster.ts'
import { encodeSnapshot, freezeState } from '../../master/state/snapshot.ts'
import { mix, mixBytes } from './digest.ts'
import type { DurableLog } from './durable-log.ts'
import { promise } from './violation.ts'

interface Position {
  readonly term: number
  /** Of this entry and all before it. */
  readonly hash: number
}

interface Seen {
  /** What the node has been told to write, by index. */
  readonly log: Map<number, Position>
  /** Indexes of entries that change the members. */
  readonly changes: Set<number>
  last: number
  term: number
  committed: number
  leaderTerm: number
  lastAsLeader: number
  /** The highest term in which it promised anything to anybody, across its lives. */
  promisedTerm: number
  /** The end of what it said it holds, across its lives. */
  promisedIndex: number
  promisedHash: number
}

/** The whole state is compared at every so many indexes: to encode it is the dearest of all checks. */
const digestEvery = 8

const caps = { unstableEntries: 5_000, messages: 10_000, uncommittedBytes: 6_000, reads: 100 }

/** Sees everything that happens and checks after each event that no promise is broken. It is not part of the system. */
export class Observer {
  /** Digest of the whole run: two runs of one seed must have the same. */
  trace = 1
  checks = 0
  readonly elections = new Map<number, number>()
  readonly #nodes = new Map<number, Seen>()
  readonly #positions = new Map<string, number>()
  readonly #committed = new Map<number, Position>()
  /** The highest index that was first seen committed in each term. */
  readonly #committedIn = new Map<number, number>()
  /** By index; also of indexes at which some node took a snapshot. */
  readonly #states = new Map<number, number>()
  readonly #members = new Map<number, string>()
  readonly #lost = new Set<number>()
  readonly #votes = new Map<string, number>()
  readonly #disks: (id: number) => DurableLog | undefined

  constructor(disks: (id: number) => DurableLog | undefined) {
    this.#disks = disks
  }

  /** Of any node, ever. */
  highestCommit = 0

  note(...facts: readonly number[]): void {
    for (const fact of facts) this.trace = mix(this.trace, fact)
  }

  /** A node lives again: what it remembers is what is on its disk, and that is no less than it has promised. */
  started(id: number, raft: Raft, state: ClusterState, durable: DurableLog): void {
    const { storage } = raft.log
    const before = this.#nodes.get(id)
    const first = storage.firstIndex()
    const log = new Map<number, Position>()
    const base = this.#committed.get(first - 1) ?? { term: storage.term(first - 1) ?? 0, hash: 1 }
    log.set(first - 1, base)
    this.#committed.set(first - 1, base)
    const seen: Seen = {
      log,
      changes: new Set(),
      last: first - 1,
      term: raft.term,
      committed: state.index,
      leaderTerm: 0,
      lastAsLeader: 0,
      promisedTerm: before?.promisedTerm ?? 0,
      promisedIndex: before?.promisedIndex ?? 0,
      promisedHash: before?.promisedHash ?? 0
    }
    this.#nodes.set(id, seen)
    promise(raft.term >= seen.promisedTerm, `${id} promised in term ${seen.promisedTerm} and came back in term ${raft.term}`)
    const last = storage.lastIndex()
    promise(last >= durable.lastIndex(), `${id} has ${durable.lastIndex()} on its disk and recovers ${last}`)
    for (let index = first; index <= last; ) {
      const page = storage.entries(index, last + 1, Number.MAX_SAFE_INTEGER) ?? []
      for (const entry of page) this.#append(id, seen, entry.index, entry.term, entry.data)
      promise(page.length > 0, `${id} has no entry ${index} of ${last}`)
      index += page.length
    }
    const { promisedIndex } = seen
    const kept = promisedIndex < first || log.get(promisedIndex)?.hash === seen.promisedHash
    promise(kept, `${id} said that it holds ${promisedIndex}, and comes back without it`)
    this.#sameState(id, state)
  }

  /** A damaged disk was noticed. Nothing more is expected of this node. */
  lost(id: number, why: string): void {
    this.note(id, why.length)
    this.#lost.add(id)
  }

  /** Log matching: an entry with the same index and term has the same past everywhere. */
  handedOut(id: number, m: Message, raft: Raft | undefined): void {
    const seen = this.#of(id)
    if (m.snapshot !== undefined) {
      const position = this.#committed.get(m.snapshot.index)
      promise(position?.term === m.snapshot.term, `${id} installs a snapshot of ${m.snapshot.index}, which is not committed so`)
      seen.log.clear()
      seen.log.set(m.snapshot.index, position)
      seen.last = m.snapshot.index
    }
    const [conflict] = m.entries
    for (const entry of m.entries) this.#append(id, seen, entry.index, entry.term, entry.data)
    if (raft?.role === 'leader') this.#oneChangeAtATime(id, raft, m.entries, seen)
    // What a leader of a later term replaces was never committed: the promise went with that leader.
    if (conflict === undefined || conflict.index > seen.promisedIndex) return
    seen.promisedIndex = conflict.index - 1
    seen.promisedHash = seen.log.get(conflict.index - 1)?.hash ?? 0
  }

  /** A leader proposes a change of the members only once it has applied the one before. */
  #oneChangeAtATime(id: number, raft: Raft, entries: readonly Entry[], seen: Seen): void {
    for (const { index, term, type } of entries) {
      seen.changes.delete(index)
      if (type === 'normal') continue
      const open = [...seen.changes].find((other) => other > raft.log.applied && other < index)
      promise(open === undefined || term !== raft.term, `${id} changes the members at ${index} before it has applied ${open}`)
      seen.changes.add(index)
    }
  }

  /** From one configuration to the next a quorum of both overlaps: one voter more or less, or by way of a joint one. */
  changesMembers(id: number, before: ConfState, after: ConfState): void {
    const { voters, votersOutgoing } = before
    const differing =
      voters.filter((one) => !after.voters.includes(one)).length + after.voters.filter((one) => !voters.includes(one)).length
    const same = (a: readonly number[], b: readonly number[]): boolean => [...a].sort().join() === [...b].sort().join()
    let isLegal = differing <= 1
    if (votersOutgoing.length > 0) isLegal = differing === 0
    else if (after.votersOutgoing.length > 0) isLegal = same(after.votersOutgoing, voters)
    promise(isLegal, `${id} goes from voters ${voters.join()} to ${after.voters.join()} without a joint configuration`)
  }

  /** Votes and acknowledgements must be on disk when they are sent, and nobody votes twice in a term. */
  promised(id: number, m: Message, storage: DurableLog): void {
    if (m.type !== 'append-response' && m.type !== 'vote-response') return
    this.checks++
    const seen = this.#of(id)
    seen.promisedTerm = Math.max(seen.promisedTerm, m.term)
    const hard = storage.hardState
    promise(hard.term >= m.term, `${id} promises in term ${m.term} and has ${hard.term} on disk`)
    if (m.reject || hard.term > m.term) return
    if (m.type === 'append-response') {
      promise(storage.lastIndex() >= m.index, `${id} acknowledges ${m.index} and has ${storage.lastIndex()} on disk`)
      this.#promises(seen, m.index)
      return
    }
    promise(hard.vote === m.to, `${id} votes for ${m.to} and has ${hard.vote} on disk`)
    const name = `${id}/${m.term}`
    const other = this.#votes.get(name)
    promise(other === undefined || other === m.to, `${id} votes for ${m.to} and for ${other} in term ${m.term}`)
    this.#votes.set(name, m.to)
  }

  /** After every event of a node. */
  looked(id: number, raft: Raft, storage: DurableLog): void {
    const seen = this.#of(id)
    this.checks++
    promise(raft.term >= seen.term, `the term of ${id} fell from ${seen.term} to ${raft.term}`)
    seen.term = raft.term
    promise(raft.log.committed >= seen.committed, `the commit of ${id} fell from ${seen.committed} to ${raft.log.committed}`)
    if (raft.role === 'leader') this.#lookedAtLeader(id, raft, seen)
    if (raft.log.committed > seen.committed) this.#commits(id, raft, seen)
    const { unstable } = raft.log
    promise(unstable.entries.length <= caps.unstableEntries, `${id} holds ${unstable.entries.length} unstable entries`)
    promise(raft.uncommittedBytes <= caps.uncommittedBytes, `${id} holds ${raft.uncommittedBytes} uncommitted bytes`)
    promise(raft.reads.waiting.length + raft.reads.early.length <= caps.reads, `${id} holds too many reads`)
    this.note(id, raft.term, raft.log.committed, storage.lastIndex(), raft.electionElapsed)
  }

  /** What the state machine gets is committed and on the own disk. */
  applies(id: number, { index, term }: Entry, durable: DurableLog): void {
    const position = this.#committed.get(index)
    const onDisk = durable.lastIndex()
    promise(onDisk >= index, `${id} applies ${index} and has ${onDisk} on disk`)
    promise(position?.term === term, `${id} applies ${term}/${index}; committed is ${position?.term}/${index}`)
  }

  /** The same index has the same state and the same members on every node. */
  applied(id: number, state: ClusterState, membership: Membership): void {
    const { voters, votersOutgoing, learners, learnersNext, autoLeave, members } = membership
    const text = JSON.stringify([voters, votersOutgoing, learners, learnersNext, autoLeave, members.map((one) => one.nodeId)])
    const other = this.#members.get(state.index)
    promise(other === undefined || other === text, `the members of ${id} at ${state.index} are ${text}, elsewhere ${other}`)
    this.#members.set(state.index, text)
    if (state.index % digestEvery === 0 || this.#states.has(state.index)) this.#sameState(id, state)
  }

  tookSnapshot(id: number, index: number, state: ClusterState): void {
    if (state.index === index) this.#sameState(id, state)
  }

  #of(id: number): Seen {
    const seen = this.#nodes.get(id)
    if (seen === undefined) throw new Error(`node ${id} was never started`)
    return seen
  }

  #append(id: number, seen: Seen, index: number, term: number, data: Uint8Array): void {
    this.checks++
    const before = seen.log.get(index - 1)
    promise(before !== undefined && index <= seen.last + 1, `${id} writes ${index} after ${seen.last}`)
    const hash = mixBytes(mix(mix(before.hash, term), index), data)
    const name = `${term}/${index}`
    const other = this.#positions.get(name)
    promise(other === undefined || other === hash, `${id} has another past before ${name} than somebody else`)
    this.#positions.set(name, hash)
    const committed = this.#committed.get(index)
    promise(committed === undefined || index > seen.committed || committed.hash === hash, `${id} replaces committed ${name}`)
    seen.log.set(index, { term, hash })
    seen.last = index
  }

  /** One leader a term, whose log only grows and holds all that was committed before. */
  #lookedAtLeader(id: number, raft: Raft, seen: Seen): void {
    const other = this.elections.get(raft.term)
    promise(other === undefined || other === id, `${id} and ${other} lead in term ${raft.term}`)
    if (seen.leaderTerm !== raft.term) {
      this.elections.set(raft.term, id)
      seen.leaderTerm = raft.term
      promise(jointVoters(raft.tracker.config.voters).includes(id), `${id} leads and has no vote itself`)
      for (const [term, index] of this.#committedIn) if (term <= raft.term) this.#hasCommitted(id, seen, index)
    } else promise(seen.last >= seen.lastAsLeader, `the log of leader ${id} shrank from ${seen.lastAsLeader} to ${seen.last}`)
    seen.lastAsLeader = seen.last
    for (const [peer, progress] of raft.tracker.progress) {
      promise(progress.match < progress.next, `${id} sends ${progress.next} to ${peer}, who has ${progress.match}`)
    }
  }

  #hasCommitted(id: number, seen: Seen, index: number): void {
    const own = seen.log.get(index)
    const firstKept = Math.min(...seen.log.keys())
    promise(index < firstKept || own?.hash === this.#committed.get(index)?.hash, `leader ${id} lacks committed ${index}`)
  }

  #commits(id: number, raft: Raft, seen: Seen): void {
    for (let index = seen.committed + 1; index <= raft.log.committed; index++) {
      const own = seen.log.get(index)
      const other = this.#committed.get(index)
      // What a snapshot stands for was committed before.
      if (own === undefined) continue
      promise(other === undefined || other.hash === own.hash, `${id} commits ${own.term}/${index}, another node ${other?.term}`)
      this.#committed.set(index, own)
      this.checks++
    }
    const index = raft.log.committed
    if (raft.role === 'leader') this.#isOnQuorum(id, raft, index)
    const isNew = index > this.highestCommit
    seen.committed = index
    if (!isNew) return
    this.highestCommit = index
    this.#committedIn.set(raft.term, index)
    for (const [peer, other] of this.#nodes) {
      if (other.leaderTerm > raft.term && other.leaderTerm === other.term && peer !== id) this.#hasCommitted(peer, other, index)
    }
  }

  /** What a leader commits is on the disks of a quorum of its configuration, whoever of them is alive. */
  #isOnQuorum(id: number, raft: Raft, index: number): void {
    const position = this.#committed.get(index)
    const reached = (peer: number): number => {
      const storage = this.#disks(peer)
      if (storage === undefined) return 0
      return storage.firstIndex() > index || storage.term(index) === position?.term ? index : 0
    }
    const durable = jointCommittedIndex(raft.tracker.config.voters, reached)
    promise(durable >= index, `${id} commits ${index}, which is not on the disks of a quorum`)
  }

  #promises(seen: Seen, index: number): void {
    const hash = seen.log.get(index)?.hash
    if (hash === undefined || index < seen.promisedIndex) return
    seen.promisedIndex = index
    seen.promisedHash = hash
  }

  #sameState(id: number, state: ClusterState): void {
    this.checks++
    const [, ...chunks] = encodeSnapshot(freezeState(state, { nodeId: '', term: 0 }))
    const hash = chunks.reduce(mixBytes, state.index)
    const other = this.#states.get(state.index)
    promise(other === undefined || other === hash, `the state of ${id} at ${state.index} is another than somebody else's`)
    this.#states.set(state.index, hash)
  }
}
