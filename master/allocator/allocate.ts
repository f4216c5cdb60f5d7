import type { Resource } from '../../proto/gen/messages.ts'
import { addResources, containsResources, type Resources, scalarOf } from '../../proto/resources.ts'
import { dominantShare } from './shares.ts'

export interface Candidate {
  readonly agentId: string
  /** Neither used nor offered. */
  readonly free: Resources
}

export interface Claimant {
  readonly frameworkId: string
  readonly role: string
  /** What runs for it and what it is being offered. */
  readonly held: Resources
}

/** A framework said no, for one of its roles, to these resources of this agent until a moment. More than these are offered again at once. */
export interface Refusal {
  readonly frameworkId: string
  readonly role: string
  readonly agentId: string
  readonly resources: Resources
  readonly untilMs: number
}

export interface AllocationInput {
  readonly total: Resources
  /** In the order in which they are to be shared out; the caller shuffles. */
  readonly candidates: readonly Candidate[]
  readonly claimants: readonly Claimant[]
  readonly refusals: readonly Refusal[]
  readonly weights: ReadonlyMap<string, number>
  readonly nowMs: number
}

export interface Grant {
  readonly frameworkId: string
  readonly role: string
  readonly agentId: string
  readonly resources: Resources
}

/** Less than this of both is not worth an offer: thousandths of a CPU, bytes. */
const leastCpus = 10
const leastMemory = 32 * 1024 * 1024

/**
 * Shares free resources out: for each agent the role with the smallest dominant share is asked first, within it the framework
 * with the smallest. The first that may have them gets all of an agent that its role may hold.
 */
export function allocate(input: AllocationInput): readonly Grant[] {
  const held = new Map(input.claimants.map((c) => [c, c.held]))
  const grants: Grant[] = []
  for (const candidate of input.candidates) {
    for (const claimant of inOrder(input, held)) {
      const resources = candidate.free.filter((r) => mayHold(claimant.role, r))
      if (!isWorthwhile(resources) || isRefused(input, claimant, candidate.agentId, resources)) continue
      grants.push({ frameworkId: claimant.frameworkId, role: claimant.role, agentId: candidate.agentId, resources })
      held.set(claimant, addResources(held.get(claimant) ?? [], resources))
      break
    }
  }
  return grants
}

function inOrder(input: AllocationInput, held: ReadonlyMap<Claimant, Resources>): readonly Claimant[] {
  const ofRole = new Map<string, Resources>()
  for (const [claimant, resources] of held) ofRole.set(claimant.role, addResources(ofRole.get(claimant.role) ?? [], resources))
  const rows = input.claimants.map((claimant) => ({
    claimant,
    role: dominantShare(ofRole.get(claimant.role) ?? [], input.total, input.weights.get(claimant.role) ?? 1),
    own: dominantShare(held.get(claimant) ?? [], input.total)
  }))
  rows.sort(
    (a, b) =>
      a.role - b.role ||
      compareText(a.claimant.role, b.claimant.role) ||
      a.own - b.own ||
      compareText(a.claimant.frameworkId, b.claimant.frameworkId)
  )
  return rows.map((r) => r.claimant)
}

/** Unreserved resources are everybody's; reserved ones are for their role and the roles below it. */
function mayHold(role: string, resource: Resource): boolean {
  const owner = resource.reservations.at(-1)?.role
  return owner === undefined || owner === role || role.startsWith(`${owner}/`)
}

const isWorthwhile = (resources: Resources): boolean =>
  scalarOf(resources, 'cpus') >= leastCpus || scalarOf(resources, 'mem') >= leastMemory

const isRefused = (input: AllocationInput, claimant: Claimant, agentId: string, resources: Resources): boolean =>
  input.refusals.some(
    (r) =>
      r.frameworkId === claimant.frameworkId &&
      r.role === claimant.role &&
      r.agentId === agentId &&
      r.untilMs > input.nowMs &&
      containsResources(r.resources, resources)
  )

const compareText = (a: string, b: string): number => (a < b ? -1 : Number(a > b))
