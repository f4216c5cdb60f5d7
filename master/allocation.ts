import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { Offer } from '../proto/gen/messages.ts'
import { addResources, containsResources, type Resources, subtractResources } from '../proto/resources.ts'
import { allocate, type Claimant, type Refusal } from './allocator/allocate.ts'
import type { Frameworks } from './frameworks.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { NodeChanges } from './node-changes.ts'
import type { Nodes } from './nodes.ts'
import type { Offers } from './offers.ts'
import { Pace } from './pace.ts'
import type { Seats } from './seats.ts'

interface AllocationParts {
  readonly changes: Pick<NodeChanges, 'watch'>
  readonly seats: Pick<Seats, 'connected' | 'takesWork' | 'registration'>
  readonly nodes: Pick<Nodes, 'freeOn'>
  readonly liveTasks: Pick<LiveTasks, 'tasksOf'>
  readonly frameworks: Frameworks
  readonly offers: Offers
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** Past this, refusals of one framework, role and agent replace the oldest. */
const maxRefusals = 100_000
const restParts = 4
const longestRefusalMs = 365 * 24 * 3_600_000

/** Drives the pure allocator: gathers what is free, sends the offers, and takes back what was declined or has expired. */
export class Allocation implements Service {
  readonly name = 'allocation'
  readonly #parts: AllocationParts
  readonly #batchMs: number
  readonly #refusals = new Map<string, Refusal>()
  readonly #closing = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  /** A round looks at every node: while thousands of them come in, each of which asks for one, the rounds must not be all that is done. */
  readonly #pace = new Pace(restParts)
  #scheduled = false

  constructor(parts: AllocationParts, config: { readonly batchMs: number }) {
    this.#parts = parts
    this.#batchMs = config.batchMs
  }

  async start(): Promise<void> {
    const { changes, seats, frameworks, offers } = this.#parts
    frameworks.onWant(() => this.request())
    frameworks.onGone((frameworkId) => {
      offers.rescindFramework(frameworkId)
      for (const [key, r] of this.#refusals) if (r.frameworkId === frameworkId) this.#refusals.delete(key)
      this.request()
    })
    changes.watch((agentId) => {
      if (!seats.takesWork(agentId)) this.rescind(agentId)
      this.request()
    })
    this.#loop = this.#tick()
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#loop
  }

  /** Runs soon, once for all that asked in the meantime. */
  request(): void {
    if (this.#scheduled || this.#closing.signal.aborted) return
    this.#scheduled = true
    const { clock } = this.#parts
    const waitMs = this.#pace.waitMs(clock.monotonicMs())
    if (waitMs < 1) setImmediate(() => this.#takeTurn())
    else
      clock.sleep(waitMs, this.#closing.signal).then(
        () => this.#takeTurn(),
        () => undefined
      )
  }

  #takeTurn(): void {
    this.#scheduled = false
    if (this.#closing.signal.aborted) return
    const { clock } = this.#parts
    const fromMs = clock.monotonicMs()
    this.#run()
    this.#pace.worked(fromMs, clock.monotonicMs())
  }

  /** The framework wants these resources of the agent no more for a while. */
  refuse({ frameworkId, role, agentId, resources }: Omit<Refusal, 'untilMs'>, refuseMs: number): void {
    if (refuseMs > 0 && resources.length > 0) {
      const key = `${frameworkId}/${agentId}/${role}`
      this.#refusals.delete(key)
      const untilMs = this.#parts.clock.monotonicMs() + Math.min(refuseMs, longestRefusalMs)
      this.#refusals.set(key, { frameworkId, role, agentId, resources, untilMs })
      const oldest = this.#refusals.keys().next()
      if (this.#refusals.size > maxRefusals && !oldest.done) this.#refusals.delete(oldest.value)
    }
    this.request()
  }

  /** A framework that asks for offers again has changed its mind about everything it refused for these roles. */
  revive(frameworkId: string, roles: readonly string[]): void {
    for (const [key, r] of this.#refusals) {
      if (r.frameworkId === frameworkId && roles.includes(r.role)) this.#refusals.delete(key)
    }
    this.#parts.frameworks.revive(frameworkId, roles)
  }

  rescind(agentId: string): void {
    this.#tell(this.#parts.offers.rescindAgent(agentId))
  }

  #tell(gone: readonly Offer[]): void {
    for (const { frameworkId, offerId } of gone) this.#parts.frameworks.deliver(frameworkId, { kind: 'rescind', offerId })
  }

  async #tick(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      await this.#parts.clock.sleep(this.#batchMs, signal).catch(() => undefined) // Only an abort ends the sleep early.
      const nowMs = this.#parts.clock.monotonicMs()
      const expired = this.#parts.offers.rescindExpired(nowMs)
      this.#tell(expired)
      let lapsed = false
      for (const [key, r] of this.#refusals) {
        if (r.untilMs > nowMs) continue
        this.#refusals.delete(key)
        lapsed = true
      }
      if (lapsed || expired.length > 0) this.request()
    }
  }

  #run(): void {
    const { seats, frameworks, offers, clock } = this.#parts
    const wanting = frameworks.claimants()
    if (wanting.length === 0) return
    const connected = seats.connected()
    const nowMs = clock.monotonicMs()
    const held = this.#heldBy(new Set(wanting.map((c) => c.frameworkId)))
    const grants = allocate({
      total: connected.reduce<Resources>((sum, id) => addResources(sum, seats.registration(id)?.resources ?? []), []),
      candidates: this.#shuffled(connected.filter((id) => seats.takesWork(id))).map((agentId) => ({
        agentId,
        free: this.#unoffered(agentId)
      })),
      claimants: wanting.map((c) => ({ ...c, held: held.get(claimKey(c)) ?? [] })),
      refusals: [...this.#refusals.values()],
      weights: new Map(),
      nowMs
    })
    const made = new Map<string, Offer[]>()
    for (const grant of grants) {
      const about = seats.registration(grant.agentId)
      if (about === undefined) continue
      const { hostname, attributes, capabilities } = about
      const offer = offers.make({ ...grant, hostname, attributes, capabilities }, nowMs)
      made.set(grant.frameworkId, [...(made.get(grant.frameworkId) ?? []), offer])
    }
    for (const [frameworkId, list] of made) {
      this.#parts.log.debug({ frameworkId, offers: list.length }, 'offers.sent')
      frameworks.deliver(frameworkId, { kind: 'offers', offers: list })
    }
  }

  #unoffered(agentId: string): Resources {
    const free = this.#parts.nodes.freeOn(agentId)
    const offered = this.#parts.offers.offeredOn(agentId)
    return containsResources(free, offered) ? subtractResources(free, offered) : []
  }

  /** What runs for each role of these frameworks, in one pass over their tasks. */
  #heldBy(frameworkIds: ReadonlySet<string>): ReadonlyMap<string, Resources> {
    const held = new Map<string, Resources>()
    for (const frameworkId of frameworkIds) {
      for (const task of this.#parts.liveTasks.tasksOf(frameworkId)) {
        if (!task.released) held.set(claimKey(task), addResources(held.get(claimKey(task)) ?? [], task.resources))
      }
    }
    return held
  }

  #shuffled(ids: readonly string[]): readonly string[] {
    const out = [...ids]
    for (let i = out.length - 1; i > 0; i -= 1) {
      const j = this.#parts.random.between(0, i)
      const [a, b] = [out[i], out[j]]
      if (a !== undefined && b !== undefined) {
        out[i] = b
        out[j] = a
      }
    }
    return out
  }
}

/** Ids of frameworks hold no slash. */
const claimKey = ({ frameworkId, role }: Omit<Claimant, 'held'>): string => `${frameworkId}/${role}`
