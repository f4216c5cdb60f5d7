import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Places } from './places.ts'

export interface SeenFiles {
  /** Those of the boot directories that are there. */
  readonly bootDirectories: readonly string[]
  /** Ids that runc or crun keep a state directory for. */
  readonly runtimeStates: readonly string[]
  readonly bundles: readonly string[]
  /** Containers that have a lease, or a word of their watchdog about one. */
  readonly leases: readonly string[]
  /** Of the kernel's tracing, named after the agent's cgroup. */
  readonly tracingInstances: readonly string[]
  readonly exitFiles: readonly string[]
  /** Names in the sandbox directory, by container id. */
  readonly sandboxes: ReadonlyMap<string, readonly string[]>
  /** Directories that were thrown away and not deleted. */
  readonly trash: readonly string[]
  /** Half-written files (`.draft`, `.tmp`) that nobody goes on with. */
  readonly drafts: readonly string[]
}

export function seeFiles({ stateDir, bootDirs, cgroupParent }: Places): SeenFiles {
  const below = (...parts: string[]): readonly string[] => list(join(stateDir, ...parts))
  const sandboxes = new Map(below('agent/sandboxes').map((id) => [id, below('agent/sandboxes', id)]))
  return {
    bootDirectories: bootDirs.filter((path) => existsSync(path)),
    runtimeStates: ['runc', 'crun'].flatMap((runtime) => below('run/oci', runtime)),
    bundles: below('run/c'),
    leases: [join(stateDir, 'run'), ...bootDirs]
      .flatMap((path) => list(join(path, 'leases')))
      .filter((name) => name !== 'watchdog')
      .map((name) => name.slice(0, 32)),
    tracingInstances: ['/sys/kernel/tracing', '/sys/kernel/debug/tracing'].flatMap((path) =>
      list(join(path, 'instances')).filter((name) => name === `hearth-${basename(cgroupParent)}`)
    ),
    exitFiles: below('run/exits'),
    sandboxes,
    trash: below('agent/trash'),
    drafts: ['', 'run', 'run/bin', 'run/exits', 'agent', 'agent/ledger', 'agent/images'].flatMap((folder) =>
      below(folder)
        .filter((name) => /\.(draft|tmp)$/.test(name))
        .map((name) => join(folder, name))
    )
  }
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // not there
  }
}
