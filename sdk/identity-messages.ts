/** Who may come in from other hosts. */
export interface IdentityOverview {
  readonly clusterId: string
  readonly authorities: readonly AuthorityFacts[]
  readonly nodes: readonly NodeCertificate[]
  readonly tokens: readonly JoinTokenFacts[]
}

export interface AuthorityFacts {
  /** sha256 of its certificate, hexadecimal. */
  readonly digest: string
  readonly untilMs: number
  readonly signs: boolean
}

export interface NodeCertificate {
  readonly nodeId: string
  readonly role: string
  readonly hostname: string
  readonly untilMs: number
  readonly admittedAtMs: number
  /** Digest of the one that signed its newest certificate. */
  readonly authority: string
}

export interface JoinTokenFacts {
  readonly tokenId: string
  readonly role: string
  readonly usesLeft: number
  readonly expiresAtMs: number
  readonly createdAtMs: number
}

export interface TokenRequest {
  readonly role: 'agent' | 'master'
  readonly ttlMs: number
  readonly uses: number
}

export interface OperatorRequest {
  readonly name: string
  readonly role: 'viewer' | 'operator' | 'admin'
  readonly tenant?: string
  readonly ttlMs?: number
}

export interface OperatorFacts {
  readonly name: string
  readonly role: string
  /** Empty: all. */
  readonly tenant: string
  readonly createdAtMs: number
  /** 0: never. */
  readonly expiresAtMs: number
}

export interface AuditEntry {
  readonly atMs: number
  readonly who: string
  readonly from: string
  readonly method: string
  readonly path: string
  /** HTTP status: below 400 it was done. */
  readonly status: number
}
