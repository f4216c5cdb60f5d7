import { errnoOf, isFault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { composeConsensus } from '../../master/consensus/compose.ts'
import type { RaftHost } from '../../master/consensus/host.ts'
import type { Member } from '../../master/consensus/membership.ts'
import type { RaftReplica } from '../../master/consensus/raft-replica.ts'
import type { ConfChange } from '../../master/raft/conf-change.ts'
import { encodeConfChange } from '../../master/raft/conf-change-codec.ts'
import type { Message } from '../../master/raft/message.ts'
import type { Raft } from '../../master/raft/raft.ts'
import type { ReplicaCommand } from '../../master/replica.ts'
import type { Answer } from '../../proto/gen/messages.ts'
import { DurableLog } from './durable-log.ts'
import type { Observer } from './observer.ts'
import { Platters } from './platters.ts'
import type { Schedule } from './schedule.ts'
import { type DiskTrouble, SimDisk } from './sim-disk.ts'
import type { Swarm } from './swarm.ts'
import { Violation } from './violation.ts'

export interface NodeWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly swarm: Swarm
  readonly observer: Observer
  readonly founders: readonly Member[]
  send(from: number, m: Message): void
  sendSnapshot(m: Message, bytes: Uint8Array): Promise<void>
  /** A node has done something: look at it when everything has come to rest. */
  touched(node: SimNode): void
  broken(error: unknown): void
}

interface Life {
  readonly disk: SimDisk
  host: RaftHost | undefined
  replica: RaftReplica | undefined
}

export const tickMs = 10
export const electionTicks = 10
export const framework = 'f'
const maxInbox = 1_000

export const memberOf = (raftId: number): Member => ({ raftId, nodeId: `n${raftId}`, address: '', agentAddress: '' })

/** One master as a process: all of the real code between its disk and its peers, in one life after the other. */
export class SimNode {
  readonly id: number
  readonly platters = new Platters()
  readonly durable = new DurableLog()
  readonly trouble: DiskTrouble = { stallMs: 0, isFull: false, failsSync: false }
  isPaused = false
  /** Its disk is damaged, it knows, and it never takes part again. */
  isLost = false
  /** Its disk was tampered with. */
  hasRot = false
  readonly #world: NodeWorld
  #life: Life | undefined
  #inbox: (() => void)[] = []

  constructor(id: number, world: NodeWorld) {
    this.id = id
    this.#world = world
  }

  get isRunning(): boolean {
    return this.#life !== undefined
  }

  get raft(): Raft | undefined {
    return this.#life?.host?.raft
  }

  get replica(): RaftReplica | undefined {
    return this.#life?.replica
  }

  start(): void {
    if (this.isRunning || this.isLost) return
    const { schedule, random, swarm } = this.#world
    const disk = new SimDisk({
      schedule,
      random,
      platters: this.platters,
      trouble: this.trouble,
      latencyMs: swarm.diskMs,
      gate: (work) => this.#gate(work),
      onDurable: (path, platter) => path.includes('/wal/') && this.durable.read(platter)
    })
    const life: Life = { disk, host: undefined, replica: undefined }
    this.#life = life
    schedule.stir()
    this.#open(life).catch((error: unknown) => {
      if (life !== this.#life) return
      this.#couldNotOpen(error)
    })
    this.#scheduleTick(life)
  }

  /** The process ends; with `power` so does the page cache. */
  crash(power: boolean): void {
    if (this.#life !== undefined) this.#life.disk.isDead = true
    this.#life = undefined
    this.#inbox = []
    this.isPaused = false
    if (!power) return
    this.platters.losePower(this.#world.random)
    for (const [path, platter] of this.platters.names) if (path.includes('/wal/')) this.durable.read(platter)
  }

  pause(): void {
    this.isPaused = this.isRunning
  }

  /** Everything that came meanwhile comes now, all at once. */
  resume(): void {
    this.isPaused = false
    const inbox = this.#inbox
    this.#inbox = []
    for (const work of inbox) this.#gate(work)
  }

  receive(m: Message): void {
    this.#input((host) => host.receive(m))
  }

  tell(m: Message): void {
    this.#input((host) => host.tell(m))
  }

  changeMembers(change: ConfChange): void {
    this.#input((host) => host.propose([encodeConfChange(change)], () => undefined))
  }

  write(session: string, seq: number, command: ReplicaCommand, answer: (answer: Answer) => void): void {
    this.#input((_, replica) => {
      void replica.propose(session, seq, command, never()).then((outcome) => {
        if (outcome.kind === 'applied') answer(outcome.answer)
      })
    })
  }

  read(key: string, answer: (value: number, version: number) => void): void {
    this.#input((_, replica) => {
      replica.read(never()).then(
        () => {
          const row = replica.state.storeOf(framework).get(key)
          answer(row === undefined ? 0 : Number(Buffer.from(row.value).toString()), row?.version ?? 0)
        },
        // This master cannot tell: the client asks another one.
        () => undefined
      )
    })
  }

  /** Something of the process besides its log, while that life of it goes on. */
  does(replica: RaftReplica, work: () => void): void {
    this.#gate(() => {
      if (this.replica !== replica) return
      this.#touch()
      work()
    })
  }

  #input(work: (host: RaftHost, replica: RaftReplica) => void): void {
    if (this.isPaused && this.#inbox.length >= maxInbox) return
    this.#gate(() => {
      const { host, replica } = this.#life ?? {}
      if (host?.raft === undefined || replica === undefined) return
      this.#touch()
      work(host, replica)
    })
  }

  #gate(work: () => void): void {
    if (this.isPaused) this.#inbox.push(work)
    else work()
  }

  #touch(): void {
    this.#world.schedule.stir()
    this.#world.touched(this)
  }

  async #open(life: Life): Promise<void> {
    const { schedule, random, observer, broken } = this.#world
    let isStarted = false
    let looks = 0
    const ifAlive = (work: () => void): void => {
      if (life !== this.#life) return
      this.#touch()
      work()
    }
    const { host, replica } = await composeConsensus(
      {
        log: silentLog,
        // Each look at it takes time, so that long applies are cut into slices, and what comes meanwhile comes between them.
        clock: {
          monotonicMs: () => (looks += random.between(0, 3)),
          wallMs: () => schedule.nowMs,
          sleep: () => new Promise(() => undefined)
        },
        disk: life.disk,
        chance: random,
        turn: (work) => schedule.after(0, () => this.#gate(() => ifAlive(work))),
        onBroken: broken,
        transport: {
          membersAre: () => {
            if (isStarted || life.host?.raft === undefined || life.replica === undefined) return
            isStarted = true
            observer.started(this.id, life.host.raft, life.replica.state, this.durable)
          },
          send: (messages) => {
            for (const m of messages) this.#send(life, m)
          },
          sendSnapshot: (m, bytes) => this.#world.sendSnapshot(m, bytes)
        }
      },
      this.#config()
    )
    if (life !== this.#life) return
    this.#watch(life, host, replica)
    await host.open()
  }

  #send(life: Life, m: Message): void {
    if (life !== this.#life) return
    this.#world.observer.promised(this.id, m, this.durable)
    this.#world.send(this.id, m)
  }

  #watch(life: Life, host: RaftHost, replica: RaftReplica): void {
    const { observer, schedule, random } = this.#world
    life.host = host
    life.replica = replica
    const { store } = host
    const { write, snapshotTaken } = store
    store.write = (m, membership) => {
      observer.handedOut(this.id, m, host.raft)
      // Whatever is newly committed comes by here before it is applied, and under the members who committed it.
      if (host.raft !== undefined) observer.looked(this.id, host.raft, this.durable)
      this.#touch()
      return write.call(store, m, membership)
    }
    store.snapshotTaken = (facts) => {
      observer.tookSnapshot(this.id, facts.index, replica.state)
      return snapshotTaken.call(store, facts)
    }
    const { apply, restore } = replica.events
    Object.assign(replica.events, {
      apply: (...[entries, done]: Parameters<typeof apply>) => {
        let { membership } = replica.machine
        for (const committed of entries) {
          observer.applies(this.id, committed.entry, this.durable)
          if (committed.membership === undefined || committed.entry.index <= replica.state.index) continue
          observer.changesMembers(this.id, membership, committed.membership)
          membership = committed.membership
        }
        apply(entries, () => {
          observer.applied(this.id, replica.state, replica.machine.membership)
          done()
        })
      },
      restore: (snapshot: Parameters<typeof restore>[0]) => {
        restore(snapshot)
        observer.applied(this.id, replica.state, replica.machine.membership)
      }
    })
    replica.onFatal(() => {
      // The process ends at once, and its supervisor starts it again.
      schedule.after(0, () => {
        if (life !== this.#life) return
        this.crash(false)
        schedule.after(random.between(20, 200), () => this.start())
      })
    })
  }

  #couldNotOpen(error: unknown): void {
    const { observer, schedule, broken } = this.#world
    this.crash(false)
    const isOfDisk = errnoOf(error) !== undefined || isFault(error, 'unavailable')
    if (!isOfDisk && !isFault(error, 'corrupt')) broken(error)
    else if (isFault(error, 'corrupt')) {
      if (!this.hasRot) broken(new Violation(`${this.id} finds its disk damaged, and it is not: ${(error as Error).message}`))
      this.isLost = true
      observer.lost(this.id, error.message)
    } else schedule.after(100, () => this.start())
  }

  #config(): Parameters<typeof composeConsensus>[1] {
    const { swarm, founders } = this.#world
    return {
      directory: '/m',
      clusterId: 'c',
      nodeId: memberOf(this.id).nodeId,
      raftId: this.id,
      founders,
      segmentBytes: swarm.segmentBytes,
      snapshotEveryBytes: swarm.snapshotBytes,
      trailingEntries: swarm.trailingEntries,
      tailBytes: swarm.tailBytes,
      core: {
        electionTicks,
        heartbeatTicks: 2,
        preVote: swarm.preVote,
        maxMessageBytes: swarm.maxMessageBytes,
        maxInflightMessages: swarm.inflight,
        maxInflightBytes: 10_000,
        maxUncommittedBytes: 5_000,
        maxApplyingBytes: 2_000,
        maxWaitingReads: 100
      }
    }
  }

  #scheduleTick(life: Life): void {
    const { schedule, random, swarm } = this.#world
    const drift = random.between(-swarm.driftPercent, swarm.driftPercent) / 100
    const every = Math.max(1, Math.round(tickMs * (1 + drift)))
    const beat = (): void => {
      if (life !== this.#life) return
      schedule.after(every, beat)
      // A stopped process misses its ticks.
      if (!this.isPaused) this.#input((host) => host.tick())
    }
    schedule.after(random.between(1, every), beat)
  }
}

const never = (): AbortSignal => new AbortController().signal
