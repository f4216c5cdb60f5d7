import { type Random, seededRandom } from '../../base/random.ts'
import { encodeNewcomers } from '../../master/consensus/membership.ts'
import type { ConfChangeSingle } from '../../master/raft/conf-change.ts'
import { message } from '../../master/raft/message.ts'
import type { Network } from './network.ts'
import { memberOf, type SimNode } from './node.ts'
import { type Platter, sectorBytes } from './platters.ts'
import type { Schedule } from './schedule.ts'
import type { Swarm } from './swarm.ts'

export interface NemesisWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly network: Network
  readonly swarm: Swarm
  readonly nodes: Map<number, SimNode>
  addNode(): SimNode
}

export type Fault =
  | 'crash'
  | 'depose'
  | 'pause'
  | 'partition'
  | 'transfer'
  | 'membership'
  | 'stall'
  | 'full'
  | 'eio'
  | 'rot'
  | 'power'

const maxNodes = 10

/** Does what the world does to masters, as often as the seed's swarm says, until it is told to stop. */
export class Nemesis {
  readonly faults: Record<Fault, number> = {
    crash: 0,
    depose: 0,
    pause: 0,
    partition: 0,
    transfer: 0,
    membership: 0,
    stall: 0,
    full: 0,
    eio: 0,
    rot: 0,
    power: 0
  }
  readonly #world: NemesisWorld
  #isOver = false

  constructor(world: NemesisWorld) {
    this.#world = world
  }

  start(): void {
    const { swarm } = this.#world
    this.#often('crash', swarm.crashEveryMs, () => this.#crash())
    this.#often('pause', swarm.pauseEveryMs, () => this.#pause())
    this.#often('partition', swarm.partitionEveryMs, () => this.#partition())
    this.#often('transfer', swarm.transferEveryMs, () => this.#transfer())
    this.#often('membership', swarm.membershipEveryMs, () => this.#changeMembers())
    this.#often('depose', swarm.deposeEveryMs, () => this.#depose())
    this.#often('stall', swarm.stallEveryMs, () => this.#stall())
    this.#often('full', swarm.fullEveryMs, () => this.#fillDisk())
    this.#often('eio', swarm.eioEveryMs, () => this.#failSync())
    if (swarm.hasRot) this.#often('rot', 1_500, () => this.#rot())
  }

  /** Nothing is broken any more: everybody lives, hears everybody, and nothing gets lost. */
  stop(): void {
    const { network, nodes } = this.#world
    this.#isOver = true
    network.heal()
    network.isCalm = true
    for (const node of nodes.values()) {
      Object.assign(node.trouble, { stallMs: 0, isFull: false, failsSync: false })
      if (!node.isRunning) node.start()
      else if (node.isPaused) node.resume()
    }
  }

  #often(fault: Fault, everyMs: number, strike: () => boolean): void {
    if (everyMs === 0) return
    const { schedule, random } = this.#world
    schedule.after(random.between(1, 2 * everyMs), () => {
      if (this.#isOver) return
      if (strike()) this.faults[fault]++
      this.#often(fault, everyMs, strike)
    })
  }

  #some(among: readonly SimNode[]): SimNode | undefined {
    return among[this.#world.random.between(0, among.length - 1)]
  }

  get #alive(): readonly SimNode[] {
    return [...this.#world.nodes.values()].filter((node) => node.raft !== undefined)
  }

  get #leader(): SimNode | undefined {
    return this.#alive.filter((node) => node.raft?.role === 'leader').sort((a, b) => (b.raft?.term ?? 0) - (a.raft?.term ?? 0))[0]
  }

  #crash(): boolean {
    const { random, schedule, swarm } = this.#world
    const all = this.#alive
    // Now and then everybody at once, as when the power goes.
    const victims = random.between(0, 9) === 0 ? all : [random.between(0, 1) === 0 ? this.#leader : this.#some(all)]
    for (const victim of victims) {
      if (victim === undefined) continue
      const power = victims.length > 1 || random.between(0, 1) === 0
      if (power) this.faults.power++
      victim.crash(power)
      if (swarm.noticesClose) this.#noticeClose(victim.id)
      schedule.after(random.between(1, 400), () => {
        victim.start()
      })
    }
    return true
  }

  /** Peers whose leader was that process stand at once, staggered by a few milliseconds. */
  #noticeClose(gone: number): void {
    for (const node of this.#alive) {
      this.#world.schedule.after(this.#world.random.between(0, 15), () => {
        if (node.raft?.leader !== gone) return
        node.tell(message('forget-leader', 0))
        node.tell(message('campaign', 0))
      })
    }
  }

  #pause(): boolean {
    const victim = this.#world.random.between(0, 1) === 0 ? this.#leader : this.#some(this.#alive)
    if (victim === undefined || victim.isPaused) return false
    victim.pause()
    this.#world.schedule.after(this.#world.random.between(10, 800), () => victim.isPaused && victim.resume())
    return true
  }

  /** Stopped until another leads, and then deaf to it for a while: it goes on as if it still led. */
  #depose(): boolean {
    const { random, network, nodes, schedule } = this.#world
    const victim = this.#leader
    if (victim === undefined || victim.isPaused) return false
    victim.pause()
    for (const from of nodes.keys()) network.cut(from, victim.id)
    const stoppedMs = random.between(120, 400)
    schedule.after(stoppedMs, () => victim.isPaused && victim.resume())
    schedule.after(stoppedMs + random.between(10, 100), () => {
      for (const from of nodes.keys()) network.mend(from, victim.id)
    })
    return true
  }

  /** Told of every vote that is given. */
  voted(id: number): void {
    const { random, schedule, swarm, nodes } = this.#world
    const voter = nodes.get(id)
    if (this.#isOver || voter === undefined || swarm.crashAfterVote === 0) return
    if (random.between(1, 100) > swarm.crashAfterVote) return
    // The vote is sent first; what it was sent from dies right after.
    schedule.after(0, () => {
      if (voter.raft === undefined) return
      this.faults.crash++
      voter.crash(random.between(0, 1) === 0)
      schedule.after(random.between(0, 5), () => voter.start())
    })
  }

  #partition(): boolean {
    const { random, network, nodes, schedule } = this.#world
    const ids = [...nodes.keys()]
    const kind = random.between(0, 3)
    const one = ids[random.between(0, ids.length - 1)] ?? 0
    const side = new Set(ids.filter(() => random.between(0, 1) === 0))
    for (const from of [...ids, 0]) {
      for (const to of ids) {
        const isSplit = kind === 0 && side.has(from) !== side.has(to)
        const isAlone = kind === 1 && (from === one || to === one) && from !== 0
        const isDeaf = kind === 2 && to === one && from !== 0
        const isPartial = kind === 3 && from !== 0 && random.between(0, 3) === 0
        if (isSplit || isAlone || isDeaf || isPartial) network.cut(from, to)
      }
    }
    schedule.after(random.between(50, 1500), () => network.heal())
    return true
  }

  #transfer(): boolean {
    const leader = this.#leader
    const target = this.#some([...this.#world.nodes.values()])
    if (leader === undefined || target === undefined) return false
    const m = message('transfer-leader', 0)
    m.from = target.id
    leader.tell(m)
    return true
  }

  #stall(): boolean {
    const victim = this.#some(this.#alive)
    if (victim !== undefined) victim.trouble.stallMs = this.#world.random.between(50, 600)
    return victim !== undefined
  }

  #fillDisk(): boolean {
    const victim = this.#some(this.#alive)
    if (victim === undefined) return false
    victim.trouble.isFull = true
    this.#world.schedule.after(this.#world.random.between(100, 1_500), () => {
      victim.trouble.isFull = false
    })
    return true
  }

  #failSync(): boolean {
    const victim = this.#some(this.#alive)
    if (victim !== undefined) victim.trouble.failsSync = true
    return victim !== undefined
  }

  /** Always the same master, so that no more than one disk is ever in doubt; and nothing so new that no later record vouches for it. */
  #rot(): boolean {
    const { nodes, random, schedule } = this.#world
    const victim = nodes.get(1)
    if (victim === undefined || !victim.isRunning) return false
    victim.crash(true)
    victim.hasRot = true
    const files = [...victim.platters.names].filter(([path]) => path.endsWith('.wal') || path.endsWith('.snapshot'))
    const [path, platter] = files[random.between(0, files.length - 1)] ?? []
    if (path !== undefined && platter !== undefined) this.#damage(platter, victim.durable.vouchedBytes(platter))
    schedule.after(random.between(1, 400), () => victim.start())
    return true
  }

  #damage(platter: Platter, vouchedBytes: number): void {
    const { random } = this.#world
    const sectors = Math.floor(vouchedBytes / sectorBytes)
    if (sectors > 0 && random.between(0, 2) === 0) platter.loseSector(random.between(0, sectors - 1))
    else platter.flipBit(random.between(0, vouchedBytes))
  }

  #changeMembers(): boolean {
    const { random, nodes } = this.#world
    const leader = this.#leader
    const config = leader?.raft?.tracker.config
    if (leader === undefined || config === undefined) return false
    const { incoming, outgoing } = config.voters
    const outsiders = [...nodes.keys()].filter((id) => !leader.raft?.tracker.progress.has(id))
    const newcomer = nodes.size < maxNodes && random.between(0, 1) === 0 ? this.#world.addNode().id : outsiders[0]
    const changes: ConfChangeSingle[] = []
    const pick = (ids: readonly number[]): number => ids[random.between(0, ids.length - 1)] ?? 0
    const kind = random.between(0, 5)
    if (outgoing.length > 0) changes.length = 0
    else if (kind === 0 && newcomer !== undefined) changes.push({ type: 'add-learner', nodeId: newcomer })
    else if (kind === 1 && config.learners.length > 0) changes.push({ type: 'add-voter', nodeId: pick(config.learners) })
    else if (kind === 2 && incoming.length > 2) changes.push({ type: 'remove', nodeId: pick(incoming) })
    else if (kind === 3 && incoming.length > 2) changes.push({ type: 'add-learner', nodeId: pick(incoming) })
    else if (newcomer !== undefined) {
      changes.push({ type: 'add-voter', nodeId: newcomer })
      if (kind === 5) changes.push({ type: 'remove', nodeId: pick(incoming) })
    }
    const transition = random.between(0, 2) === 0 ? 'explicit' : 'auto'
    const leaves = outgoing.length > 0
    const context = encodeNewcomers(changes.map((change) => memberOf(change.nodeId)))
    leader.changeMembers({ transition: leaves ? 'auto' : transition, changes, context })
    return true
  }
}

/** A stream of draws of its own for each part, so that a change to one does not move all the others. */
export const streamOf = (seed: number, part: number): Random =>
  seededRandom(Math.imul(seed, 0x85ebca6b) ^ Math.imul(part, 0xc2b2ae35))
