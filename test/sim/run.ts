import type { Message } from '../../master/raft/message.ts'
import { hasReady } from '../../master/raft/ready.ts'
import { checkHistory } from '../linearizability/checker.ts'
import { type Operation, type RegisterAction, register } from '../linearizability/history.ts'
import { Client } from './client.ts'
import { type Fault, Nemesis, streamOf } from './nemesis.ts'
import { Network } from './network.ts'
import { electionTicks, memberOf, SimNode, tickMs } from './node.ts'
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
export async function runSeed(seed: number): Promise<SeedResult> {
  const world = new World(seed)
  let violation: string | undefined
  try {
    await world.run()
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
  readonly #observer = new Observer((id) => this.#nodes.get(id)?.durable)
  readonly #history: Operation<RegisterAction>[] = []
  readonly #clients: readonly Client[]
  readonly #nemesis: Nemesis
  readonly #touched = new Set<SimNode>()
  #broken: { readonly error: unknown } | undefined

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
      addNode: () => this.#addNode()
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

  async run(): Promise<void> {
    for (const _ of this.#founders) this.#addNode()
    for (const client of this.#clients) client.start()
    this.#nemesis.start()
    await this.#until(stormMs)
    this.#nemesis.stop()
    for (const client of this.#clients) client.isStopping = true
    await this.#until(stormMs + calmMs)
    const term = this.#isAlive()
    for (const key of this.#keys) this.#clients[0]?.readKey(key)
    await this.#until(stormMs + 2 * calmMs)
    promise(this.#isAlive() === term, 'an election disturbed a cluster in which everything was well')
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

  /** Each event comes to rest before the next: what it set off in promises runs in an order that is always the same. */
  async #until(endMs: number): Promise<void> {
    const schedule = this.#schedule
    while (schedule.next(endMs)) {
      if (!schedule.isStirred) continue
      schedule.isStirred = false
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#broken !== undefined) throw this.#broken.error
      for (const node of this.#touched) {
        if (node.raft !== undefined && !hasReady(node.raft)) this.#observer.looked(node.id, node.raft, node.durable)
      }
      this.#touched.clear()
    }
  }

  get #founders() {
    return Array.from({ length: this.#swarm.voters }, (_, i) => memberOf(i + 1))
  }

  #addNode(): SimNode {
    const id = this.#nodes.size + 1
    const node = new SimNode(id, {
      schedule: this.#schedule,
      random: streamOf(this.#seed, 100 + id),
      swarm: this.#swarm,
      observer: this.#observer,
      founders: this.#founders,
      touched: (one) => this.#touched.add(one),
      broken: (error) => {
        this.#broken ??= { error }
      },
      send: (from, m) => {
        this.#observer.note(from, m.to, m.term, m.index)
        this.#network.send(from, m.to, () => this.#nodes.get(m.to)?.receive(m))
        if (m.type === 'vote-response' && !m.reject) this.#nemesis.voted(from)
      },
      sendSnapshot: (m, bytes) => this.#sendSnapshot(m, bytes)
    })
    this.#nodes.set(id, node)
    node.start()
    return node
  }

  /** A snapshot has a stream of its own, whose end the sender sees. */
  #sendSnapshot(m: Message, bytes: Uint8Array): Promise<void> {
    const { snapshot } = m
    return new Promise((resolve, reject) => {
      if (snapshot === undefined) return
      this.#network.send(m.from, m.to, () => {
        this.#nodes.get(m.to)?.receive({ ...m, snapshot: { ...snapshot, data: bytes } })
        this.#schedule.stir()
        resolve()
      })
      this.#schedule.after(snapshotPatienceMs, () => {
        this.#schedule.stir()
        reject(new Error('the peer did not take it in time'))
      })
    })
  }

  /** One leader, whom all of a quorum follow and who has committed everything, within ten election timeouts of calm. */
  #isAlive(): number {
    const alive = [...this.#nodes.values()]
    const term = Math.max(...alive.map((node) => (node.raft?.role === 'leader' ? node.raft.term : 0)))
    const leader = alive.find((node) => node.raft?.role === 'leader' && node.raft.term === term)
    promise(leader?.raft !== undefined, 'nobody leads after ten election timeouts without a fault')
    const { autoLeave, voters } = leader.raft.tracker.config
    promise(!autoLeave || voters.outgoing.length === 0, 'a joint configuration that ends by itself has not ended')
    promise(leader.raft.log.committed >= this.#observer.highestCommit, 'the leader has not committed what was committed before')
    const { committed } = leader.raft.log
    for (const node of alive) {
      const isMember = node.isRunning && leader.raft.tracker.progress.has(node.id)
      promise(
        !isMember || (node.replica?.state.index ?? 0) >= committed,
        `${node.id} has not applied ${committed}, though all is well`
      )
    }
    return term
  }
}
