import type { Offer } from '../proto/gen/messages.ts'
import { containsResources, describeResources, type Resources, scalarOf, subtractResources } from '../proto/resources.ts'

export interface Wanted {
  readonly key: string
  readonly role: string
  /** Both the reservation and the limit; what a task did not ask for it neither reserves nor is held to. */
  readonly resources: Resources
  /** Capabilities that its node must have. */
  readonly needs: readonly string[]
}

export interface Placement {
  /** Per offer what it takes, in the order of the wishes; offers that nobody wants are absent. */
  readonly taken: ReadonlyMap<string, readonly string[]>
  readonly left: readonly Wanted[]
}

/** First fit over the offers with the most memory free first: spreads single tasks, and is the same for the same input. */
export function place(wanted: readonly Wanted[], offers: readonly Offer[]): Placement {
  const open = offers.map((offer) => ({ offer, free: offer.resources as Resources }))
  const taken = new Map<string, string[]>()
  const left: Wanted[] = []
  for (const wish of wanted) {
    const fitting = open.filter(
      (o) => o.offer.role === wish.role && isAble(o.offer, wish) && containsResources(o.free, wish.resources)
    )
    const best = fitting.reduce<(typeof open)[number] | undefined>(
      (a, b) => (a === undefined || scalarOf(b.free, 'mem') > scalarOf(a.free, 'mem') ? b : a),
      undefined
    )
    if (best === undefined) {
      left.push(wish)
      continue
    }
    best.free = subtractResources(best.free, wish.resources)
    const { offerId } = best.offer
    taken.set(offerId, [...(taken.get(offerId) ?? []), wish.key])
  }
  return { taken, left }
}

const isAble = ({ capabilities }: Offer, { needs }: Wanted): boolean =>
  needs.every((name) => capabilities.some((c) => c.name === name && c.present))

/** For people: why a wish waits, given what was on offer last. */
export function whyItWaits(wish: Wanted, offers: readonly Offer[]): string {
  const largest = offers.reduce<Offer | undefined>(
    (a, b) => (a === undefined || scalarOf(b.resources, 'mem') > scalarOf(a.resources, 'mem') ? b : a),
    undefined
  )
  if (largest === undefined) return 'waits for a node'
  const [missed] = wish.needs.filter((name) => !isAble(largest, { ...wish, needs: [name] }))
  if (missed !== undefined && !offers.some((offer) => isAble(offer, wish))) {
    const why = largest.capabilities.find(({ name }) => name === missed)?.detail ?? 'its agent does not know it'
    return `waits for a node that can do what it asks for: ${largest.hostname} has no ${missed}: ${why}`
  }
  return `waits for free resources: it asks for ${describeResources(wish.resources)}, ${largest.hostname} has ${describeResources(largest.resources)} free`
}
