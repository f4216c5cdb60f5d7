import { Fault } from '../base/fault.ts'
import type { Offer } from '../proto/gen/messages.ts'
import { newContainerId } from '../proto/ids.ts'
import { addResources, type Resources } from '../proto/resources.ts'

interface Standing {
  readonly offer: Offer
  readonly expiresMs: number
}

export interface TakenOffers {
  readonly agentId: string
  readonly role: string
  readonly resources: Resources
  /** What the agent's node can do. */
  readonly capabilities: Offer['capabilities']
}

/** Outstanding offers, in the leader's memory only. Each is accepted, declined, rescinded or timed out, once. */
export class Offers {
  readonly #standing = new Map<string, Standing>()
  readonly #timeoutMs: number

  constructor(config: { readonly timeoutMs: number }) {
    this.#timeoutMs = config.timeoutMs
  }

  make(offer: Omit<Offer, 'offerId'>, nowMs: number): Offer {
    const made = { ...offer, offerId: newContainerId() }
    this.#standing.set(made.offerId, { offer: made, expiresMs: nowMs + this.#timeoutMs })
    return made
  }

  /** Throws `Fault('conflict')` where one of the offers no longer stands or they are of different agents; then none is taken. */
  take(frameworkId: string, offerIds: readonly string[]): TakenOffers {
    const found = [...new Set(offerIds)].map((id) => this.#standing.get(id)?.offer)
    const first = found[0]
    if (first === undefined) throw new Fault('conflict', 'the offer no longer stands; wait for the next one')
    for (const offer of found) {
      if (offer === undefined || offer.frameworkId !== frameworkId) {
        throw new Fault('conflict', 'one of the offers no longer stands; wait for the next ones')
      }
      if (offer.agentId !== first.agentId || offer.role !== first.role) {
        throw new Fault('invalid', 'offers of several agents or roles cannot be accepted together')
      }
    }
    const offers = found.filter((o) => o !== undefined)
    for (const offer of offers) this.#standing.delete(offer.offerId)
    return {
      agentId: first.agentId,
      role: first.role,
      capabilities: first.capabilities,
      resources: offers.reduce<Resources>((sum, o) => addResources(sum, o.resources), [])
    }
  }

  /** Of the first of them; undefined where it no longer stands. */
  roleOf(frameworkId: string, [offerId = '']: readonly string[]): string | undefined {
    const offer = this.#standing.get(offerId)?.offer
    return offer?.frameworkId === frameworkId ? offer.role : undefined
  }

  /** Takes back those that still stand; unknown ids are not an error: a rescind may have crossed the decline. */
  decline(frameworkId: string, offerIds: readonly string[]): readonly Offer[] {
    return this.#remove((o) => o.frameworkId === frameworkId && offerIds.includes(o.offerId))
  }

  rescindAgent(agentId: string): readonly Offer[] {
    return this.#remove((o) => o.agentId === agentId)
  }

  rescindFramework(frameworkId: string): readonly Offer[] {
    return this.#remove((o) => o.frameworkId === frameworkId)
  }

  rescindExpired(nowMs: number): readonly Offer[] {
    return this.#remove((_, expiresMs) => expiresMs <= nowMs)
  }

  offeredOn(agentId: string): Resources {
    let sum: Resources = []
    for (const { offer } of this.#standing.values()) if (offer.agentId === agentId) sum = addResources(sum, offer.resources)
    return sum
  }

  get size(): number {
    return this.#standing.size
  }

  #remove(which: (offer: Offer, expiresMs: number) => boolean): readonly Offer[] {
    const gone = [...this.#standing.values()].filter((s) => which(s.offer, s.expiresMs)).map((s) => s.offer)
    for (const offer of gone) this.#standing.delete(offer.offerId)
    return gone
  }
}
