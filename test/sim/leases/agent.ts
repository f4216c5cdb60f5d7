import { aborted } from '../../../agent/aborted.ts'
import { Lease, type LeaseOf } from '../../../agent/lease/lease.ts'
import { endsAtMs, killAtMs, type Term } from '../../../agent/lease/terms.ts'
import type { Clock } from '../../../base/clock.ts'
import { isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import type { Random } from '../../../base/random.ts'
import { completeMessage } from '../../../proto/codec.ts'
import type { LeaseGrant, LeaseRequest } from '../../../proto/gen/messages.ts'
import type { Schedule } from '../schedule.ts'
import { frameworkId, type SimLaunch } from './desk.ts'
import { sleeping } from './sleep.ts'

export interface AgentWorld {
  readonly schedule: Schedule
  readonly random: Random
  /** How fast the clock of its host goes. */
  readonly rate: number
  readonly masters: number
  /** Nothing ends by itself any more. */
  isCalm(): boolean
  request(agentId: string, master: number, request: LeaseRequest): void
  ended(agentId: string, master: number, launch: SimLaunch): void
  /** The first instruction of a container, and its last. */
  began(launch: SimLaunch): void
  over(launch: SimLaunch): void
}

/** After which it tries the next master. */
const silenceMs = 2_000

/** One container on the host, which outlives the agent: what runs, and what the watchdog of leases knows. */
interface Container {
  readonly launch: SimLaunch
  term: Term | undefined
  phase: 'prepared' | 'running' | 'over'
  hasFired: boolean
}

/** A host: the real lease of the agent, whose process may stand still or die, and a watchdog that does neither. */
export class SimAgent {
  readonly id: string
  readonly #world: AgentWorld
  readonly #clock: Clock
  readonly #containers = new Map<string, Container>()
  readonly #reported = new Set<string>()
  #leases = new Map<string, Lease>()
  #life = 0
  #isAlive = true
  #isFrozen = false
  #inbox: (() => void)[] = []
  #epoch = 0
  #request = 0
  #master = 1
  #heardMs = 0

  constructor(id: string, world: AgentWorld) {
    const { schedule, rate } = world
    this.id = id
    this.#world = world
    this.#clock = {
      monotonicMs: () => schedule.nowMs * rate,
      wallMs: () => schedule.nowMs,
      sleep: (ms, signal) => sleeping((work) => this.#after(ms / rate, work), signal)
    }
    this.#report()
  }

  /** As SIGSTOP does. */
  freeze(): void {
    this.#isFrozen = true
  }

  thaw(): void {
    this.#isFrozen = false
    for (const work of this.#inbox.splice(0)) work()
  }

  crash(): void {
    this.#life += 1
    this.#isAlive = false
    this.#isFrozen = false
    this.#inbox = []
    this.#leases = new Map()
  }

  /** Takes over what runs, with the term that its file tells. */
  start(): void {
    if (this.#isAlive) return
    this.#isAlive = true
    this.#report()
    for (const container of this.#containers.values()) {
      if (container.phase === 'prepared') container.phase = 'over'
      if (container.phase !== 'running') continue
      const lease = this.#leaseOf(container)
      this.#follow(container, lease)
      void lease.adopt(container.launch.containerId, container.term)
    }
  }

  /** From a master other than the one that it is connected to it hears nothing. */
  launch(from: number, launch: SimLaunch): void {
    this.#does(() => {
      if (from !== this.#master) return
      this.#heardMs = this.#world.schedule.nowMs
      if (launch.epoch < this.#epoch) return
      this.#epoch = launch.epoch
      if (this.#containers.has(launch.containerId)) return
      const container: Container = { launch, term: undefined, phase: 'prepared', hasFired: false }
      this.#containers.set(launch.containerId, container)
      void this.#run(container)
    })
  }

  granted(grant: LeaseGrant): void {
    this.#does(() => {
      if (grant.epoch < this.#epoch) return
      this.#heardMs = this.#world.schedule.nowMs
      this.#leases.get(grant.containerId)?.take(grant)
    })
  }

  forget(containerId: string): void {
    this.#does(() => {
      const container = this.#containers.get(containerId)
      if (container?.phase !== 'over') return
      this.#leases.delete(containerId)
      this.#reported.add(containerId)
    })
  }

  async #run(container: Container): Promise<void> {
    const { random, isCalm } = this.#world
    const lease = this.#leaseOf(container)
    const { signal } = new AbortController()
    try {
      await lease.granted(signal)
      await this.#clock.sleep(random.between(0, 1) * random.between(0, 200), signal)
      await lease.arm(container.launch.containerId)
      await this.#clock.sleep(random.between(0, 50), signal)
    } catch (e) {
      if (!isFault(e)) throw e
      return this.#end(container)
    }
    // What the watchdog has frozen does not begin.
    if (container.hasFired) return this.#end(container)
    container.phase = 'running'
    this.#world.began(container.launch)
    this.#follow(container, lease)
    if (!isCalm() && random.between(0, 3) === 0) this.#after(random.between(100, 6_000), () => this.#end(container))
  }

  #leaseOf({ launch }: Container): Lease {
    const { taskId, attempt, containerId, lengthMs } = launch
    const { schedule, rate } = this.#world
    const lease = new Lease(
      { frameworkId, taskId, attempt, containerId, lengthMs },
      {
        clock: this.#clock,
        // As /proc/uptime tells it.
        bootClock: { nowMs: () => Math.floor((schedule.nowMs * rate) / 10) * 10 },
        log: silentLog,
        send: () => (of) => this.#send(of),
        put: async (id, term) => this.#put(id, term)
      }
    )
    this.#leases.set(containerId, lease)
    void lease.keep()
    return lease
  }

  #follow(container: Container, lease: Lease): void {
    const life = this.#life
    void aborted(lease.over).then(() => {
      if (life !== this.#life) return
      if (lease.end.isUrgent) this.#end(container)
      // Its own kill policy, and no longer than the rest of the term.
      else this.#after(this.#world.random.between(0, 3_000), () => this.#end(container))
    })
  }

  #send(of: LeaseOf): number {
    this.#request += 1
    const request = completeMessage('LeaseRequest', { ...of, epoch: this.#epoch, request: this.#request })
    this.#world.request(this.id, this.#master, request)
    return this.#request
  }

  /** The file of the watchdog: what has fired stays so. */
  #put(containerId: string, term: Term): void {
    const { schedule, random, rate } = this.#world
    const container = this.#containers.get(containerId)
    if (container === undefined || container.hasFired) return
    container.term = term
    const inMs = (atMs: number): number => Math.max(0, Math.ceil(atMs / rate - schedule.nowMs))
    schedule.after(inMs(killAtMs(term)), () => {
      if (container.term !== term || container.hasFired) return
      container.hasFired = true
      // The promise is kept where nothing is left at its very end.
      const emptyMs = random.between(0, 1) === 0 ? endsAtMs(term) - 1 : random.between(killAtMs(term), endsAtMs(term) - 1)
      schedule.after(inMs(emptyMs), () => this.#end(container))
    })
  }

  #end(container: Container): void {
    if (container.phase === 'running') this.#world.over(container.launch)
    container.phase = 'over'
    const lease = this.#leases.get(container.launch.containerId)
    lease?.release(container.launch.containerId)
    lease?.leave()
  }

  /** Tells every end until somebody has taken note. */
  #report(): void {
    const { schedule, random, masters } = this.#world
    this.#after(random.between(100, 300), () => {
      this.#report()
      if (schedule.nowMs - this.#heardMs > silenceMs) {
        this.#master = (this.#master % masters) + 1
        this.#heardMs = schedule.nowMs
      }
      for (const { launch, phase } of this.#containers.values()) {
        if (phase !== 'over' || this.#reported.has(launch.containerId)) continue
        this.#world.ended(this.id, random.between(1, masters), launch)
      }
    })
  }

  #after(ms: number, work: () => void): void {
    const life = this.#life
    this.#world.schedule.after(Math.ceil(ms), () => {
      if (life === this.#life) this.#does(work)
    })
  }

  #does(work: () => void): void {
    if (!this.#isAlive) return
    this.#world.schedule.stir()
    if (this.#isFrozen) this.#inbox.push(work)
    else work()
  }
}
