import type { Random } from '../../base/random.ts'
import { decodeConfChange } from '../../master/raft/conf-change-codec.ts'
import type { Entry } from '../../master/raft/entry.ts'
import { applyConfChange } from '../../master/raft/membership.ts'
import { appendThread, applyThread, isThread, type Message, message } from '../../master/raft/message.ts'
import { newRaft } from '../../master/raft/node.ts'
import type { Raft, RaftOptions } from '../../master/raft/raft.ts'
import { hasReady, takeReady } from '../../master/raft/ready.ts'
import type { ConfState, ReadState, Snapshot } from '../../master/raft/state.ts'
import { act, step, tick } from '../../master/raft/step.ts'
import { Disk } from './disk.ts'
import { encodeRequest, Machine, type Request } from './machine.ts'
import type { Observer } from './observer.ts'
import type { Schedule } from './schedule.ts'
import type { Swarm } from './swarm.ts'

export interface NodeWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly swarm: Swarm
  readonly observer: Observer
  send(from: number, m: Message): void
}

type WriteAnswer = (swapped: boolean) => void
type ReadAnswer = (value: number) => void

export const tickMs = 10
export const electionTicks = 10
const keptEntries = 3

/** One master as a process: the real core, a disk, a state machine, and what it has promised to whom. */
export class SimNode {
  readonly id: number
  readonly disk: Disk
  raft: Raft | undefined
  machine = new Machine()
  appliedIndex = 0
  confState: ConfState
  isPaused = false
  readonly #world: NodeWorld
  #life = 0
  #reads = 0
  #inbox: (() => void)[] = []
  #applying: Message[] = []
  #writeAnswers = new Map<string, WriteAnswer>()
  #readAnswers = new Map<string, { readonly key: string; readonly answer: ReadAnswer }>()
  #due: ReadState[] = []

  constructor(id: number, snapshot: Snapshot, world: NodeWorld) {
    this.id = id
    this.#world = world
    this.confState = snapshot.confState
    this.disk = new Disk(world.schedule, world.random, world.swarm.diskMs, snapshot, (to) => this.#snapshotFor(to))
    if (snapshot.index > 0) {
      this.disk.storage.install(snapshot)
      this.disk.storage.hardState = { term: snapshot.term, vote: 0, commit: snapshot.index }
    }
  }

  start(): void {
    const { storage, snapshot } = this.disk
    storage.remember(snapshot.confState)
    const hard = storage.hardState
    // A snapshot is of what was committed, even where the note of that commit was lost with the crash.
    if (hard !== undefined) storage.hardState = { ...hard, commit: Math.max(hard.commit, snapshot.index) }
    this.machine = Machine.restore(snapshot.data)
    this.appliedIndex = snapshot.index
    this.confState = snapshot.confState
    this.raft = newRaft(optionsFor(this.id, this.#world), storage, snapshot.index)
    this.#life++
    this.#scheduleTick(this.#life)
    this.#world.observer.started(this.id, this.raft, this.machine, this.appliedIndex)
    this.#pump()
  }

  crash(): void {
    this.raft = undefined
    this.#inbox = []
    this.#applying = []
    this.#writeAnswers.clear()
    this.#readAnswers.clear()
    this.#due = []
    this.isPaused = false
    this.disk.crash()
  }

  pause(): void {
    this.isPaused = this.raft !== undefined
  }

  /** Everything that came meanwhile comes now, all at once. */
  resume(): void {
    this.isPaused = false
    const inbox = this.#inbox
    this.#inbox = []
    for (const work of inbox) this.#run(work)
  }

  receive(m: Message): void {
    this.#run(() => this.raft !== undefined && step(this.raft, m))
  }

  /** What the host itself has to say: transfer-leader, forget-leader, campaign. */
  tell(m: Message): void {
    this.#run(() => this.raft !== undefined && act(this.raft, m))
  }

  write(request: Request, answer: WriteAnswer): void {
    this.#run(() => {
      if (this.raft === undefined) return
      const m = message('propose', 0)
      m.entries = [{ term: 0, index: 0, type: 'normal', data: encodeRequest(request) }]
      if (act(this.raft, m) === 'ok') this.#writeAnswers.set(`${request.client}/${request.number}`, answer)
    })
  }

  read(key: string, answer: ReadAnswer): void {
    this.#run(() => {
      if (this.raft === undefined) return
      const m = message('read-index', 0)
      m.context = `${this.id}/${this.#life}/${++this.#reads}`
      if (act(this.raft, m) === 'ok') this.#readAnswers.set(m.context, { key, answer })
    })
  }

  #run(work: () => unknown): void {
    if (this.raft === undefined) return
    if (this.isPaused) {
      if (this.#inbox.length < 1000) this.#inbox.push(work)
      return
    }
    work()
    this.#pump()
  }

  #scheduleTick(life: number): void {
    const { schedule, random, swarm } = this.#world
    const drift = random.between(-swarm.driftPercent, swarm.driftPercent) / 100
    const every = Math.max(1, Math.round(tickMs * (1 + drift)))
    const beat = (): void => {
      if (life !== this.#life || this.raft === undefined) return
      schedule.after(every, beat)
      // A stopped process misses its ticks.
      if (!this.isPaused) this.#run(() => this.raft !== undefined && tick(this.raft))
    }
    schedule.after(random.between(1, every), beat)
  }

  #pump(): void {
    const { raft } = this
    if (raft === undefined) return
    while (hasReady(raft)) {
      const ready = takeReady(raft)
      this.#due.push(...ready.readStates)
      for (const m of ready.messages) this.#dispatch(m)
    }
    this.#answerReads()
    this.#world.observer.looked(this.id, raft, this.disk.storage)
  }

  #dispatch(m: Message): void {
    if (m.to === appendThread) {
      this.#world.observer.handedOut(this.id, m)
      this.disk.write(m, (done) => this.#written(done))
    } else if (m.to === applyThread) this.#startApply(m)
    else this.#respond(m)
  }

  #written(m: Message): void {
    const { snapshot } = m
    this.#run(() => {
      if (snapshot !== undefined && snapshot.index > this.appliedIndex) {
        this.machine = Machine.restore(snapshot.data)
        this.appliedIndex = snapshot.index
        this.confState = snapshot.confState
        this.#world.observer.applied(this.id, snapshot.index, snapshot.term, this.machine, snapshot.confState)
      }
      for (const response of m.responses) this.#respond(response)
    })
  }

  #respond(m: Message): void {
    this.#world.observer.promised(this.id, m, this.disk.storage)
    if (m.to === this.id && this.raft !== undefined) step(this.raft, m)
    else if (!isThread(m.to)) this.#world.send(this.id, m)
  }

  #startApply(m: Message): void {
    this.#applying.push(m)
    const life = this.#life
    this.#world.schedule.after(this.#world.random.between(0, 3), () => {
      if (life !== this.#life || this.raft === undefined) return
      this.#run(() => {
        const work = this.#applying.shift()
        if (work === undefined) return
        for (const entry of work.entries) this.#apply(entry)
        for (const response of work.responses) this.#respond(response)
        this.#maybeSnapshot()
      })
    })
  }

  #apply(entry: Entry): void {
    const { raft } = this
    // A snapshot has overtaken it.
    if (raft === undefined || entry.index <= this.appliedIndex) return
    const change = decodeConfChange(entry.type, entry.data)
    const applied = entry.type === 'normal' ? this.machine.apply(entry.data) : undefined
    if (change !== undefined) this.confState = applyConfChange(raft, change).confState ?? this.confState
    this.appliedIndex = entry.index
    this.#world.observer.applied(
      this.id,
      entry.index,
      entry.term,
      this.machine,
      raft.log.unstable.snapshot === undefined ? this.confState : undefined
    )
    if (applied === undefined) return
    const name = `${applied.request.client}/${applied.request.number}`
    if (!applied.isRepeat) this.#world.observer.tookEffect(name, entry.index)
    this.#writeAnswers.get(name)?.(applied.swapped)
    this.#writeAnswers.delete(name)
  }

  #answerReads(): void {
    if (this.#due.length === 0) return
    const ready = this.#due.filter((read) => read.index <= this.appliedIndex)
    this.#due = this.#due.filter((read) => read.index > this.appliedIndex)
    for (const { context } of ready) {
      const read = this.#readAnswers.get(context)
      this.#readAnswers.delete(context)
      read?.answer(this.machine.values.get(read.key) ?? 0)
    }
  }

  /** A newcomer needs one that knows it. */
  #snapshotFor(to: number): Snapshot | undefined {
    const knows = (): boolean => {
      const { voters, votersOutgoing, learners } = this.disk.snapshot.confState
      return [...voters, ...votersOutgoing, ...learners].includes(to)
    }
    if (!knows()) this.#takeSnapshot()
    return knows() ? this.disk.snapshot : undefined
  }

  #maybeSnapshot(): void {
    if (this.appliedIndex - this.disk.snapshot.index < this.#world.swarm.snapshotEntries) return
    this.#takeSnapshot()
    this.disk.storage.compact(Math.max(1, this.disk.snapshot.index - keptEntries))
  }

  #takeSnapshot(): void {
    const { raft, disk, confState } = this
    // The members at this index are not known while a snapshot overtakes it.
    if (raft === undefined || raft.log.unstable.snapshot !== undefined) return
    const term = disk.storage.term(this.appliedIndex)
    if (term === undefined) return
    disk.snapshot = { index: this.appliedIndex, term, confState, data: this.machine.save() }
  }
}

function optionsFor(id: number, { random, swarm }: NodeWorld): RaftOptions {
  return {
    id,
    chance: random,
    electionTicks,
    heartbeatTicks: 2,
    preVote: swarm.preVote,
    checkQuorum: true,
    reads: 'quorum',
    maxMessageBytes: swarm.maxMessageBytes,
    maxInflightMessages: swarm.inflight,
    maxInflightBytes: 10_000,
    maxUncommittedBytes: 5_000,
    maxApplyingBytes: 2_000,
    maxWaitingReads: 100,
    forwardProposals: false,
    stepDownOnRemoval: true,
    validateConfChanges: true,
    asyncStorageWrites: true
  }
}
