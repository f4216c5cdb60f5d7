import { Fault, isFault } from '../base/fault.ts'
import { completeMessage, decodeMessage, encodeMessage } from '../proto/codec.ts'
import type { IdRange, TaskDefinition, TenantPolicy } from '../proto/gen/messages.ts'
import { mostRanges, rangeNumber } from '../proto/id-ranges.ts'
import { checkPolicy, policyRefusal, policyRoles, usualPolicy } from '../proto/tenant-policy.ts'
import type { Proposer } from './proposer.ts'
import type { ClusterState } from './state/cluster.ts'

/** Its part of the scheduler store holds the policies, and who has which ids: what every version of the state knows to keep and to hand on. */
const frameworkId = 'hearth-tenants'
const prefix = 'policy/'
/** By role, and by number: no two roles get the same one, whoever is asked first. They are never removed. */
const [idsOfRole, idsOfNumber] = ['ids/', 'range/']

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

  /**
   * The ids of nodes that belong to the role alone, given to it as it first asks and never taken back: files on disks may be theirs.
   * Rejects with `Fault('exhausted')` where all are given.
   */
  async idsOf(role: string, signal: AbortSignal): Promise<IdRange> {
    for (;;) {
      const store = this.#parts.state.storeOf(frameworkId)
      const known = store.get(idsOfRole + role)
      if (known !== undefined) return decodeMessage('IdRange', known.value)
      const number = [...store.scan(idsOfRole)].length
      if (number >= mostRanges) {
        throw new Fault('exhausted', `${mostRanges} roles have ids for user namespaces, and there are no more`)
      }
      const rows = [
        { key: idsOfRole + role, value: encodeMessage('IdRange', rangeNumber(number)), remove: false },
        { key: `${idsOfNumber}${number}`, value: new TextEncoder().encode(role), remove: false }
      ]
      await this.#propose(rows, 0, signal).catch((e: unknown) => {
        if (!isFault(e) || e.code !== 'conflict') throw e // somebody was quicker: look again
      })
    }
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
    await this.#propose([write], this.#row(role)?.version ?? 0, signal)
  }

  /** All of it, where each row is still of the version. */
  async #propose(
    writes: readonly { readonly key: string; readonly value: Uint8Array; readonly remove: boolean }[],
    version: number,
    signal: AbortSignal
  ): Promise<void> {
    const { state, proposer } = this.#parts
    const conditions = writes.map(({ key }) => ({ key, version }))
    if (!state.frameworks.has(frameworkId)) {
      const framework = completeMessage('FrameworkDefinition', { frameworkId, name: 'hearth tenant' })
      await proposer.propose({ registerFramework: { framework } }, signal)
    }
    await proposer.propose({ storeTransaction: { frameworkId, conditions, writes: [...writes] } }, signal)
  }
}
