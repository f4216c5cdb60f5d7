import { Fault } from '../base/fault.ts'
import { completeMessage, decodeMessage, encodeMessage } from '../proto/codec.ts'
import type { TaskDefinition, TenantPolicy } from '../proto/gen/messages.ts'
import { checkPolicy, policyRefusal, policyRoles, usualPolicy } from '../proto/tenant-policy.ts'
import type { Proposer } from './proposer.ts'
import type { ClusterState } from './state/cluster.ts'

/** Its part of the scheduler store holds the policies: what every version of the state knows to keep and to hand on. */
const frameworkId = 'hearth-tenants'
const prefix = 'policy/'

interface TenantsParts {
  readonly state: Pick<ClusterState, 'storeOf' | 'frameworks'>
  readonly proposer: Pick<Proposer, 'propose'>
}

export type PolicyChange = { readonly [K in Exclude<keyof TenantPolicy, 'role'>]?: TenantPolicy[K] }

/** The policies of roles, in the replicated state. Read at every launch, so that a change counts for the next one. */
export class Tenants {
  readonly #parts: TenantsParts

  constructor(parts: TenantsParts) {
    this.#parts = parts
  }

  list(): readonly TenantPolicy[] {
    return [...this.#parts.state.storeOf(frameworkId).scan(prefix)].map((row) => decodeMessage('TenantPolicy', row.value))
  }

  /** The one that counts for a role: its own, that of a role above it, that of `*`, or the usual one, whose role is empty. */
  policyOf(role: string): TenantPolicy {
    for (const one of policyRoles(role)) {
      const row = this.#row(one)
      if (row !== undefined) return decodeMessage('TenantPolicy', row.value)
    }
    return usualPolicy
  }

  /** Why a task may not be of this role as it is; undefined where it may. */
  refusal(role: string, task: TaskDefinition): string | undefined {
    return policyRefusal(this.policyOf(role), role, task)
  }

  /**
   * Changes the role's own policy, or gives it one that begins as what counted for it before. Rejects with `Fault('invalid')` for
   * what is no policy, `conflict` where somebody else was quicker.
   */
  async set(role: string, change: PolicyChange, signal: AbortSignal): Promise<TenantPolicy> {
    const policy = completeMessage('TenantPolicy', { ...this.policyOf(role), ...change, role })
    checkPolicy(policy)
    const value = encodeMessage('TenantPolicy', policy)
    await this.#write(role, { key: prefix + role, value, remove: false }, signal)
    return policy
  }

  /** Rejects with `Fault('not-found')` where the role has no policy of its own. */
  async remove(role: string, signal: AbortSignal): Promise<void> {
    if (this.#row(role) === undefined)
      throw new Fault('not-found', `tenant ${role} has no policy of its own; hearth tenant list shows all`)
    await this.#write(role, { key: prefix + role, value: new Uint8Array(), remove: true }, signal)
  }

  #row(role: string) {
    return this.#parts.state.storeOf(frameworkId).get(prefix + role)
  }

  async #write(
    role: string,
    write: { readonly key: string; readonly value: Uint8Array; readonly remove: boolean },
    signal: AbortSignal
  ): Promise<void> {
    const { state, proposer } = this.#parts
    const condition = { key: write.key, version: this.#row(role)?.version ?? 0 }
    if (!state.frameworks.has(frameworkId)) {
      const framework = completeMessage('FrameworkDefinition', { frameworkId, name: 'hearth tenant' })
      await proposer.propose({ registerFramework: { framework } }, signal)
    }
    await proposer.propose({ storeTransaction: { frameworkId, conditions: [condition], writes: [write] } }, signal)
  }
}
