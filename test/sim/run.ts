import { message } from '../../master/raft/message.ts'
import type { Snapshot } from '../../master/raft/state.ts'
import { checkHistory } from '../linearizability/checker.ts'
import { type Operation, type RegisterAction, register } from '../linearizability/history.ts'
import { Client } from './client.ts'
import { Machine } from './machine.ts'
import { type Fault, Nemesis, streamOf } from './nemesis.ts'
import { Network } from './network.ts'
import { electionTicks, SimNode, tickMs } from './node.ts'
import { Observer } from './observer.ts'
import { Schedule } from './schedule.ts'
import { drawSwarm, type Swarm } from './swarm.ts'
import { promise, Violation } from './violation.ts'

export interface SeedResult {
  readonly seed: number
  /** What was broken, undefined for nothing. */
  readonly violation: string | undefined
  readonly trace: number
  readonly events: number
  readonly simulatedMs: number
  readonly checks: number
  readonly elections: number
  readonly operations: number
  readonly faults: Readonly<Record<Fault, number>>
}

const stormMs = 4_000
const calmMs = 10 * 2 * electionTicks * tickMs
const snapshotPatienceMs = 300
const budgetPerKey = 200_000

/** One cluster, from its first event to the check of its history. The same seed is the same run, event for event. */
export function runSeed(seed: number): SeedResult {
  const world = new World(seed)
  let violation: string | undefined
  try {
    world.run()
  } catch (error) {
    // An invariant of the core that breaks is a violation too, and so is anything it throws.
    violation = error instanceof Violation ? error.message : String(error instanceof Error ? error.stack : error)
  }
  return { ...world.result(), violation }
}

class World {
  readonly #seed: number
  readonly #schedule = new Schedule()
  readonly #swarm: Swarm
  readonly #network: Network
  readonly #nodes = new Map<number, SimNode>()
  readonly #observer = new Observer((id) => this.#nodes.get(id)?.disk.storage)
  readonly #history: Operation<RegisterAction>[] = []
  readonly #clients: readonly Client[]
  readonly #nemesis: Nemesis

  constructor(seed: number) {
    this.#seed = seed
    this.#swarm = drawSwarm(streamOf(seed, 1))
    this.#network = new Network(this.#schedule, streamOf(seed, 2), this.#swarm)
    this.#nemesis = new Nemesis({
      schedule: this.#schedule,
      random: streamOf(seed, 3),
      network: this.#network,
      swarm: this.#swarm,
      nodes: this.#nodes,
      addNode: () => this.#addNode(emptySnapshot)
    })
    const clientWorld = {
      schedule: this.#schedule,
      random: streamOf(seed, 4),
      network: this.#network,
      history: this.#history,
      keys: this.#swarm.keys,
      members: () => [...this.#nodes.values()]
    }
    this.#clients = Array.from({ length: this.#swarm.clients }, (_, i) => new Client(i + 1, clientWorld))
  }

  run(): void {
    const voters = Array.from({ length: this.#swarm.voters }, (_, i) => i + 1)
    for (const _ of voters)
      this.#addNode({ ...emptySnapshot, index: 1, term: 1, confState: { ...emptySnapshot.confState, voters } })
    for (const client of this.#clients) client.start()
    this.#nemesis.start()
    this.#until(stormMs)
    this.#nemesis.stop()
    for (const client of this.#clients) client.isStopping = true
    this.#until(stormMs + calmMs)
    this.#isAlive()
    for (const key of this.#keys) this.#clients[0]?.readKey(key)
    this.#until(stormMs + 2 * calmMs)
    promise(
      this.#clients.every((client) => client.isIdle),
      'a request had no answer long after everything was well again'
    )
    for (const { key, verdict } of checkHistory(this.#history, register, budgetPerKey)) {
      promise(verdict !== 'violated', `the history of ${key} is not linearizable`)
    }
  }

  result(): Omit<SeedResult, 'violation'> {
    return {
      seed: this.#seed,
      trace: this.#observer.trace,
      events: this.#schedule.events,
      simulatedMs: this.#schedule.nowMs,
      checks: this.#observer.checks,
      elections: this.#observer.elections.size,
      operations: this.#history.length,
      faults: this.#nemesis.faults
    }
  }

  get #keys(): readonly string[] {
    return [...new Set(this.#history.map((operation) => operation.key))]
  }

  #until(endMs: number): void {
    while (this.#schedule.next(endMs));
  }

  #addNode(snapshot: Snapshot): SimNode {
    const id = this.#nodes.size + 1
    const node = new SimNode(id, snapshot, {
      schedule: this.#schedule,
      random: streamOf(this.#seed, 100 + id),
      swarm: this.#swarm,
      observer: this.#observer,
      send: (from, m) => {
        this.#observer.note(from, m.to, m.term, m.index)
        let isDelivered = false
        this.#network.send(from, m.to, () => {
          isDelivered = true
          this.#nodes.get(m.to)?.receive(m)
        })
        if (m.type === 'snapshot') this.#schedule.after(snapshotPatienceMs, () => this.#reportSnapshot(from, m.to, isDelivered))
      }
    })
    this.#nodes.set(id, node)
    node.start()
    return node
  }

  /** A snapshot has a stream of its own, whose end the host sees: the core waits for that. */
  #reportSnapshot(from: number, to: number, isDelivered: boolean): void {
    const report = message('snapshot-status', 0)
    report.from = to
    report.reject = !isDelivered
    this.#nodes.get(from)?.tell(report)
  }

  /** One leader, whom all of a quorum follow and who has committed everything, within ten election timeouts of calm. */
  #isAlive(): void {
    const alive = [...this.#nodes.values()]
    const term = Math.max(...alive.map((node) => (node.raft?.role === 'leader' ? node.raft.term : 0)))
    const leader = alive.find((node) => node.raft?.role === 'leader' && node.raft.term === term)
    promise(leader?.raft !== undefined, 'nobody leads after ten election timeouts without a fault')
    promise(leader.raft.log.committed >= this.#observer.highestCommit, 'the leader has not committed what was committed before')
  }
}

const emptySnapshot: Snapshot = {
  index: 0,
  term: 0,
  confState: { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  data: new Machine().save()
}
