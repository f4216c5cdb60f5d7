import type { Clock } from '../base/clock.ts'
import type { Acceptance, Decline, IdRange, TaskGroup } from '../proto/gen/messages.ts'
import { subtractResources } from '../proto/resources.ts'
import type { Allocation } from './allocation.ts'
import type { Assignments } from './assignments.ts'
import { type Frameworks, masterStatus } from './frameworks.ts'
import { checkGroup, type Verdict } from './launch-check.ts'
import type { Offers } from './offers.ts'
import { type ClusterState, levelOfLeases } from './state/cluster.ts'
import type { Tenants } from './tenants.ts'

interface LaunchesParts {
  readonly state: Pick<ClusterState, 'featureLevel'>
  readonly offers: Pick<Offers, 'take' | 'decline' | 'roleOf'>
  readonly allocation: Pick<Allocation, 'refuse' | 'request'>
  readonly assignments: Pick<Assignments, 'assign'>
  readonly frameworks: Pick<Frameworks, 'deliver'>
  readonly tenants: Pick<Tenants, 'policyOf' | 'idsOf'>
  readonly clock: Clock
}

interface LaunchesConfig {
  /** Frameworks whose tasks the agent may start again by itself. */
  readonly restarting: ReadonlySet<string>
}

/** What a scheduler answers to its offers: which groups it launches out of them, and what it does not want. */
export class Launches {
  readonly #parts: LaunchesParts
  readonly #config: LaunchesConfig

  constructor(parts: LaunchesParts, config: LaunchesConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Rejects with a Fault where no group was launched because the offers do not stand; a refused group comes back as a status. */
  async accept(acceptance: Acceptance, signal: AbortSignal): Promise<void> {
    const { frameworkId } = acceptance
    const { offers, allocation, assignments, tenants, state } = this.#parts
    const ids = await this.#idsFor(acceptance, signal)
    const { agentId, role, resources, capabilities } = offers.take(frameworkId, acceptance.offerIds)
    const policy = tenants.policyOf(role)
    let left = resources
    const launching: Promise<void>[] = []
    for (const group of acceptance.groups) {
      const restarts = this.#config.restarting.has(frameworkId)
      const leases = state.featureLevel >= levelOfLeases
      const verdict = checkGroup(group, { frameworkId, role, resources: left, restarts, leases, policy, capabilities })
      if (verdict.kind === 'refused') {
        this.#tellRefusal(frameworkId, group, verdict)
        continue
      }
      left = subtractResources(left, verdict.resources)
      // Whatever the scheduler wrote there.
      const whole = { ...group, policy, ids: hasOwnIds(group) ? ids : null }
      launching.push(assignments.assign(whole, agentId, verdict.tasks, signal))
    }
    allocation.refuse({ frameworkId, role, agentId, resources: left }, acceptance.refuseMs)
    await Promise.all(launching)
  }

  decline(decline: Decline): void {
    const { offers, allocation } = this.#parts
    for (const offer of offers.decline(decline.frameworkId, decline.offerIds)) allocation.refuse(offer, decline.refuseMs)
    allocation.request()
  }

  /** Before the offers are taken: what is taken is offered to others until it is assigned. Null where no group asks for any. */
  async #idsFor({ frameworkId, offerIds, groups }: Acceptance, signal: AbortSignal): Promise<IdRange | null> {
    if (!groups.some(hasOwnIds)) return null
    const { offers, tenants } = this.#parts
    const role = offers.roleOf(frameworkId, offerIds)
    return role === undefined ? null : tenants.idsOf(role, signal)
  }

  #tellRefusal(frameworkId: string, group: TaskGroup, refusal: Verdict & { readonly kind: 'refused' }): void {
    const { state, reason, message } = refusal
    for (const taskId of group.tasks.length === 0 ? [''] : group.tasks.map((task) => task.taskId)) {
      const nothing = { frameworkId, taskId, attempt: 0, containerId: '', agentId: '' }
      const status = masterStatus(nothing, state, reason, message, this.#parts.clock.wallMs())
      this.#parts.frameworks.deliver(frameworkId, { kind: 'status', status })
    }
  }
}

const hasOwnIds = ({ tasks }: TaskGroup): boolean => tasks.some(({ walls }) => walls?.userNamespace === true)
