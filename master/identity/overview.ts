import type { ClusterState } from '../state/cluster.ts'
import { signingAuthority } from '../state/identities.ts'

export interface IdentityOverview {
  readonly clusterId: string
  readonly authorities: readonly { readonly digest: string; readonly untilMs: number; readonly signs: boolean }[]
  readonly nodes: readonly {
    readonly nodeId: string
    readonly role: string
    readonly hostname: string
    readonly untilMs: number
    readonly admittedAtMs: number
    /** Digest of the one that signed its newest certificate. */
    readonly authority: string
  }[]
  readonly tokens: readonly {
    readonly tokenId: string
    readonly role: string
    readonly usesLeft: number
    readonly expiresAtMs: number
    readonly createdAtMs: number
  }[]
}

/** What operators may see of the doors: no secret and no key, sealed or not. Tokens that have expired by the log's own time are left out. */
export function overviewOf(state: ClusterState, clusterId: string): IdentityOverview {
  const signing = signingAuthority(state)?.digest
  return {
    clusterId,
    authorities: [...state.authorities.values()].map(({ digest, notAfterMs: untilMs }) => ({
      digest,
      untilMs,
      signs: digest === signing
    })),
    nodes: [...state.nodeIdentities.values()].map(({ nodeId, role, hostname, notAfterMs: untilMs, admittedAtMs, authority }) => ({
      ...{ nodeId, role, hostname, untilMs, admittedAtMs, authority }
    })),
    tokens: [...state.joinTokens.values()]
      .filter(({ expiresAtMs }) => expiresAtMs > state.atMs)
      .map(({ tokenId, role, usesLeft, expiresAtMs, createdAtMs }) => ({ tokenId, role, usesLeft, expiresAtMs, createdAtMs }))
  }
}
