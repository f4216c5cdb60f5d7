import { type SeenFiles, seeFiles } from './files.ts'
import { type KernelObjects, seeKernelObjects } from './kernel-objects.ts'
import { type LedgerReading, readLedger } from './ledger.ts'
import { type SeenLog, seeLogs } from './logs.ts'
import { type Execution, readMarks } from './marks.ts'
import { type SeenProcess, seeProcesses } from './processes.ts'

/**
 * What the kernel and the disk show of one agent's world. Nothing here uses the agent's own code, so that a mistake of the agent
 * cannot hide itself: formats are read anew, after their descriptions.
 */
export interface Places {
  readonly stateDir: string
  /** The cgroup that holds all containers. */
  readonly cgroupParent: string
  /** Mounted into every task; programs leave their marks there (marks.ts). */
  readonly marksDir: string
}

export interface Observation extends KernelObjects, SeenFiles {
  readonly processes: readonly SeenProcess[]
  /** Directories of the containers below the parent, in every hierarchy; the parent and what stands beside them where it is there. */
  readonly cgroups: readonly SeenCgroup[]
  /** By container id. */
  readonly executions: ReadonlyMap<string, readonly Execution[]>
  readonly logs: ReadonlyMap<string, SeenLog>
  readonly ledger: LedgerReading
}

export interface SeenCgroup {
  readonly path: string
  /** The first part below the parent: a container's id, or another name; empty for the parent itself. */
  readonly name: string
}

/** `containerIds`: of all that were ever launched there; they are what links, namespaces and nft elements are known by. */
export function observe(places: Places, containerIds: readonly string[]): Observation {
  const processes = seeProcesses(places)
  return {
    processes,
    ...seeKernelObjects(places, containerIds, processes),
    ...seeFiles(places.stateDir),
    executions: readMarks(places.marksDir),
    logs: seeLogs(places.stateDir),
    ledger: readLedger(places.stateDir)
  }
}
