import type { Random } from '../../../base/random.ts'
import type { LeaseGrant, LeaseRequest } from '../../../proto/gen/messages.ts'
import { mix } from '../digest.ts'
import { Nemesis, streamOf } from '../nemesis.ts'
import { Network } from '../network.ts'
import { memberOf, SimNode } from '../node.ts'
import { Observer } from '../observer.ts'
import { Schedule } from '../schedule.ts'
import { drawSwarm, type Swarm } from '../swarm.ts'
import { promise, Violation } from '../violation.ts'
import { SimAgent } from './agent.ts'
import { frameworkId, LeaseDesk, type SimLaunch } from './desk.ts'

export interface LeaseSeedResult {
  readonly seed: number
  readonly violation: string | undefined
  readonly trace: number
  readonly events: number
  readonly simulatedMs: number
  /** Containers that began. */
  readonly began: number
  readonly terms: number
  /** Agents that were frozen, killed or cut off. */
  readonly agentFaults: number
}

const lengthMs = 3_000
const stormMs = 14_000
const calmMs = 18_000
const tasks = ['one', 'two']
const agentCount = 3

/** Masters, hosts and tasks with leases in one simulated world: no two attempts of a task ever run at the same time. */
export async function runLeaseSeed(seed: number): Promise<LeaseSeedResult> {
  const world = new LeaseWorld(seed)
  let violation: string | undefined
  try {
    await world.run()
  } catch (error) {
    violation = error instanceof Violation ? error.message : String(error instanceof Error ? error.stack : error)
  }
  return { ...world.result(), violation }
}

/** Nobody joins, and no disk is lost: that is what the other simulation is about. */
const drawn = (seed: number): Swarm => ({
  ...drawSwarm(streamOf(seed, 1)),
  ...{
    voters: 3,
    membershipEveryMs: 0,
    hasRot: false,
    fullEveryMs: 0,
    eioEveryMs: 0,
    segmentBytes: 16_384,
    maxMessageBytes: 100_000
  }
})

class LeaseWorld {
  readonly #seed: number
  readonly #schedule = new Schedule()
  readonly #swarm: Swarm
  readonly #network: Network
  readonly #nodes = new Map<number, SimNode>()
  readonly #desks = new Map<number, LeaseDesk>()
  readonly #agents = new Map<string, SimAgent>()
  readonly #observer = new Observer((id) => this.#nodes.get(id)?.durable)
  readonly #nemesis: Nemesis
  /** What executes, by its task. */
  readonly #executing = new Map<string, SimLaunch & { readonly agentId: string }>()
  #containers = 0
  #began = 0
  #terms = 0
  #agentFaults = 0
  #trace = 1
  #isCalm = false
  #broken: { readonly error: unknown } | undefined

  constructor(seed: number) {
    this.#seed = seed
    this.#swarm = drawn(seed)
    this.#network = new Network(this.#schedule, streamOf(seed, 2), this.#swarm)
    const nemesisOf = { schedule: this.#schedule, network: this.#network, swarm: this.#swarm, nodes: this.#nodes }
    this.#nemesis = new Nemesis({ ...nemesisOf, random: streamOf(seed, 3), addNode: () => this.#addNode() })
  }

  async run(): Promise<void> {
    for (let id = 1; id <= this.#swarm.voters; id += 1) this.#addNode()
    for (let number = 1; number <= agentCount; number += 1) this.#addAgent(number)
    this.#nemesis.start()
    this.#troubleAgents()
    await this.#until(stormMs)
    this.#nemesis.stop()
    this.#isCalm = true
    for (const desk of this.#desks.values()) desk.isCalm = true
    for (const agent of this.#agents.values()) {
      agent.start()
      agent.thaw()
    }
    await this.#until(stormMs + calmMs)
    for (const task of tasks) {
      promise(this.#executing.has(task), `task ${task} does not run, though all is well: ${this.#known(task)}`)
    }
  }

  /** What the leader has on record. */
  #known(task: string): string {
    const [desk] = this.#desks.values()
    return JSON.stringify(desk?.replica.state.assignmentOf(frameworkId, task) ?? null)
  }

  result(): Omit<LeaseSeedResult, 'violation'> {
    return {
      seed: this.#seed,
      trace: this.#trace,
      events: this.#schedule.events,
      simulatedMs: this.#schedule.nowMs,
      began: this.#began,
      terms: this.#terms,
      agentFaults: this.#agentFaults
    }
  }

  async #until(endMs: number): Promise<void> {
    const schedule = this.#schedule
    while (schedule.next(endMs)) {
      if (!schedule.isStirred) continue
      do {
        schedule.isStirred = false
        await new Promise((resolve) => setImmediate(resolve))
        if (this.#broken !== undefined) throw this.#broken.error
        await this.#settle()
      } while (schedule.isStirred)
    }
  }

  /** The rooms of each leader, as master/serving.ts opens and closes them. */
  async #settle(): Promise<void> {
    for (const [id, node] of this.#nodes) {
      const { replica } = node
      const desk = this.#desks.get(id)
      const isStill = desk !== undefined && desk.replica === replica && replica.leadership.term === desk.term
      if (desk !== undefined && !(isStill && replica.leadership.leading)) {
        desk.close()
        this.#desks.delete(id)
      }
      if (node.isPaused || replica?.leadership.leading !== true || this.#desks.has(id)) continue
      this.#terms += 1
      const opened = new LeaseDesk(node, replica, this.#deskWorld(id))
      opened.isCalm = this.#isCalm
      this.#desks.set(id, opened)
      await opened.start()
    }
  }

  #deskWorld(id: number): ConstructorParameters<typeof LeaseDesk>[2] {
    const agentIds = [...this.#agents.keys()]
    const post = (node: SimNode, agentId: string, deliver: (agent: SimAgent) => void): void => {
      const agent = this.#agents.get(agentId)
      if (agent !== undefined) this.#network.send(node.id, numberOf(agentId), () => deliver(agent))
    }
    return {
      ...{ schedule: this.#schedule, random: streamOf(this.#seed, 200 + id + 10 * this.#terms), tasks, agentIds, lengthMs },
      rate: this.#rate(id),
      newContainerId: () => String(++this.#containers).padStart(32, '0'),
      launch: (node, agentId, launch) => post(node, agentId, (agent) => agent.launch(node.id, launch)),
      grant: (node, agentId, grant: LeaseGrant) => post(node, agentId, (agent) => agent.granted(grant))
    }
  }

  #addNode(): SimNode {
    const id = this.#nodes.size + 1
    const node = new SimNode(id, {
      schedule: this.#schedule,
      random: streamOf(this.#seed, 100 + id),
      swarm: this.#swarm,
      observer: this.#observer,
      founders: Array.from({ length: this.#swarm.voters }, (_, i) => memberOf(i + 1)),
      touched: () => undefined,
      broken: (error) => {
        this.#broken ??= { error }
      },
      send: (from, m) => {
        this.#network.send(from, m.to, () => this.#nodes.get(m.to)?.receive(m))
        if (m.type === 'vote-response' && !m.reject) this.#nemesis.voted(from)
      },
      sendSnapshot: async (m, bytes) => {
        const { snapshot } = m
        if (snapshot === undefined) return
        this.#network.send(m.from, m.to, () => this.#nodes.get(m.to)?.receive({ ...m, snapshot: { ...snapshot, data: bytes } }))
      }
    })
    this.#nodes.set(id, node)
    node.start()
    return node
  }

  #addAgent(number: number): void {
    const agentId = `a${number}`
    const ask = (master: number, work: (desk: LeaseDesk, node: SimNode) => void): void =>
      this.#network.send(numberOf(agentId), master, () => {
        const node = this.#nodes.get(master)
        const replica = node?.replica
        if (node === undefined || replica === undefined) return
        node.does(replica, () => {
          const desk = this.#desks.get(master)
          if (desk !== undefined && desk.replica === replica) work(desk, node)
        })
      })
    const agent = new SimAgent(agentId, {
      ...{ schedule: this.#schedule, random: streamOf(this.#seed, 300 + number), masters: this.#swarm.voters },
      isCalm: () => this.#isCalm,
      rate: this.#rate(numberOf(agentId)),
      request: (_, master, request: LeaseRequest) => ask(master, (desk) => desk.asked(agentId, request)),
      ended: (_, master, launch) =>
        ask(master, (desk, node) => {
          void desk.ended(agentId, launch).then((isNoted) => {
            if (isNoted) this.#network.send(node.id, numberOf(agentId), () => agent.forget(launch.containerId))
          })
        }),
      began: (launch) => this.#begins({ ...launch, agentId }),
      over: (launch) => this.#ends(launch)
    })
    this.#agents.set(agentId, agent)
  }

  /** Between the slowest clock and the fastest lie 5 %. */
  #rate(number: number): number {
    return 1 + (streamOf(this.#seed, 400 + number).between(0, 2) * 25) / 1_000
  }

  #begins(launch: SimLaunch & { readonly agentId: string }): void {
    const other = this.#executing.get(launch.taskId)
    this.#note(launch)
    this.#began += 1
    if (other !== undefined) {
      const both = `attempts ${other.attempt} (${other.containerId.slice(-4)}) and ${launch.attempt} (${launch.containerId.slice(-4)})`
      this.#broken ??= { error: new Violation(`${both} of task ${launch.taskId} run at the same time`) }
    }
    this.#executing.set(launch.taskId, launch)
  }

  #ends(launch: SimLaunch): void {
    this.#note(launch)
    if (this.#executing.get(launch.taskId)?.containerId === launch.containerId) this.#executing.delete(launch.taskId)
  }

  #note({ containerId }: SimLaunch): void {
    this.#trace = mix(mix(this.#trace, this.#schedule.nowMs), Number(containerId))
  }

  /** Stopped, killed, or cut off from some or all of the masters. */
  #troubleAgents(): void {
    const random = streamOf(this.#seed, 5)
    const everyMs = [500, 1_500, 4_000][random.between(0, 2)] ?? 0
    const trouble = (): void => {
      this.#schedule.after(random.between(1, 2 * everyMs), () => {
        if (this.#isCalm) return
        trouble()
        const agent = this.#agents.get(`a${random.between(1, agentCount)}`)
        if (agent === undefined) return
        this.#agentFaults += 1
        const forMs = random.between(50, 5_000)
        const kind = random.between(0, 3)
        if (kind === 3) {
          this.#strand(random)
          return
        }
        if (kind === 0) agent.freeze()
        else if (kind === 1) agent.crash()
        else this.#cutOff(agent, random.between(0, 2))
        this.#schedule.after(forMs, () => {
          if (kind === 0) agent.thaw()
          else if (kind === 1) agent.start()
          else this.#network.heal()
        })
      })
    }
    trouble()
  }

  /** A leader that stands still hears its successor last of all; and whoever it then answers is heard by nobody for a while. */
  #strand(random: Random): void {
    const [[id] = []] = this.#desks
    const victim = id === undefined ? undefined : this.#nodes.get(id)
    if (victim === undefined || victim.isPaused) return
    const others = [...this.#nodes.keys()].filter((other) => other !== victim.id)
    victim.pause()
    for (const other of others) this.#network.cut(other, victim.id)
    const stoppedMs = random.between(300, 1_500)
    this.#schedule.after(stoppedMs, () => victim.isPaused && victim.resume())
    this.#schedule.after(stoppedMs + random.between(5, 100), () => {
      for (const other of others) this.#network.mend(other, victim.id)
      const busy = [...this.#executing.values()]
      const agent = this.#agents.get(busy[random.between(0, busy.length - 1)]?.agentId ?? '')
      if (this.#isCalm || agent === undefined) return
      agent.freeze()
      this.#schedule.after(random.between(3_000, 6_000), () => agent.thaw())
    })
  }

  #cutOff(agent: SimAgent, spared: number): void {
    for (const id of this.#nodes.keys()) {
      if (id === spared) continue
      this.#network.cut(numberOf(agent.id), id)
      this.#network.cut(id, numberOf(agent.id))
    }
  }
}

/** Of an agent, as the network knows it. */
const numberOf = (agentId: string): number => 100 + Number(agentId.slice(1))
