import { type SeenFiles, seeFiles } from './files.ts'
import { type KernelObjects, seeKernelObjects } from './kernel-objects.ts'
import { type LedgerReading, readLedger } from './ledger.ts'
import { type SeenLog, seeLogs } from './logs.ts'
import { type Execution, readMarks } from './marks.ts'
import type { Places } from './places.ts'
import { type SeenProcess, seeProcesses } from './processes.ts'

/**
 * What the kernel and the disk show of one agent's world. Nothing here uses the agent's own code, so that a mistake of the agent
 * cannot hide itself: formats are read anew, after their descriptions.
 */
export interface Observation extends KernelObjects, SeenFiles {
  readonly processes: readonly SeenProcess[]
  /** By container id. */
  readonly executions: ReadonlyMap<string, readonly Execution[]>
  readonly logs: ReadonlyMap<string, SeenLog>
  readonly ledger: LedgerReading
}

/**
 * `containerIds`: of all that were ever launched there; they are what links, namespaces and nft elements are known by. `links`
 * false: without links and nft elements, which take two programs to see.
 */
export function observe(places: Places, containerIds: readonly string[], links = true): Observation {
  const processes = seeProcesses(places)
  return {
    processes,
    ...seeKernelObjects(places, containerIds, processes, links),
    ...seeFiles(places),
    executions: readMarks(places.marksDir),
    logs: seeLogs(places.stateDir),
    ledger: readLedger(places.stateDir)
  }
}
