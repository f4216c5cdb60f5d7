/** `hearth node fsck`: where an agent's ledger and its host differ. */
export interface FsckReport {
  readonly findings: readonly FsckFinding[]
  readonly repairs: readonly { readonly finding: FsckFinding; readonly action: string; readonly why: string }[]
  /** Objects present and unowned, by kind. */
  readonly orphans: Readonly<Record<string, number>>
  readonly seen: Readonly<Record<string, number>>
  /** What could not be looked at, and why; absent from older agents. */
  readonly unseen?: readonly string[]
  readonly quarantined: number
  readonly tookMs: number
  /** Read from the agent's files: no agent runs. */
  readonly offline?: boolean
}

export interface FsckFinding {
  readonly kind: string
  readonly id: string
  readonly containerId: string
  readonly verdict: 'absent' | 'unowned' | 'different'
  readonly why: string
  readonly isOurs: boolean
}
