import type { Finding, FsckKind } from './compare.ts'

/** What a repair does about each finding. Pure. */

export interface ContainerFacts {
  /** Processes are in its cgroup. */
  readonly isAlive: boolean
  /** Its annotations prove that it is this agent's own, and the ledger does not have its row. */
  readonly canAdopt: boolean
}

export type RepairAction =
  | { readonly kind: 'adopt'; readonly finding: Finding; readonly why: string }
  | { readonly kind: 'remove'; readonly finding: Finding; readonly why: string }
  | { readonly kind: 'leave'; readonly finding: Finding; readonly why: string }

/**
 * `explicit`: a person asked, so that also what may be somebody's files goes. `isWhole`: nothing of the ledger was ever lost, so
 * that what it does not know was ended and forgotten.
 */
export interface RepairRules {
  readonly explicit: boolean
  readonly isWhole: boolean
}

/** What dies with the boot holds nothing that anybody could miss. */
const isBootBound: Readonly<Record<FsckKind, boolean>> = {
  cgroup: true,
  bundle: true,
  runtime_state: true,
  conmon: true,
  // Of ours alone, by its label: what wrote there is in the sandbox.
  docker_container: true,
  exit_file: true,
  lease: true,
  overlay: false,
  log_file: false,
  sandbox_dir: false,
  mount: false,
  network_namespace: true,
  link: true,
  nft_table: true,
  nft_element: true,
  loop_device: true,
  layer: false,
  shifted_view: false,
  image: false,
  kept_log: false
}

export function planRepair(
  findings: readonly Finding[],
  factsOf: (containerId: string) => ContainerFacts,
  rules: RepairRules
): readonly RepairAction[] {
  return findings.map((finding) => decide(finding, factsOf(finding.containerId), rules))
}

function decide(finding: Finding, facts: ContainerFacts, rules: RepairRules): RepairAction {
  const leave = (why: string): RepairAction => ({ kind: 'leave', finding, why })
  if (finding.kind === 'image') return leave(finding.why)
  if (finding.verdict !== 'unowned') return leave('nothing can be made whole from outside while the task is there')
  if (!finding.isOurs) return leave(finding.why)
  if (finding.kind === 'mount') return leave(`Hearth mounts nothing there: look whose it is, then umount ${finding.id}`)
  if (facts.isAlive) {
    if (facts.canAdopt)
      return { kind: 'adopt', finding, why: 'it runs, and its annotations say whose it is: the ledger takes it in' }
    return leave('it runs, and nothing proves whose it is: end it by hand if nobody needs it')
  }
  if (isBootBound[finding.kind]) {
    if (rules.isWhole || rules.explicit) return { kind: 'remove', finding, why: 'nothing runs in it and no row owns it' }
    return leave('the ledger was damaged once, so that it may have had a row: --repair removes it')
  }
  const isOfStore = finding.kind === 'layer' || finding.kind === 'shifted_view' || finding.kind === 'kept_log'
  if (isOfStore && rules.explicit) return { kind: 'remove', finding, why: finding.why }
  if (rules.explicit) return { kind: 'remove', finding, why: 'no row owns it: its task was forgotten' }
  return leave('it may hold files of a forgotten task: --repair removes it')
}
