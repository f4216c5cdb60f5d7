import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { isPopulated, joinCgroup, makeCgroup } from '../../isolators/cgroup2/tree.ts'
import { agentLeaf, type SystemdUnit } from './systemd.ts'
import { initCgroup, scopeName, scopePath, WorkloadScope } from './workload-scope.ts'

interface Parts {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>
  readonly log: Log
  readonly layout: CgroupLayout
  readonly unit: SystemdUnit | undefined
}

interface Config {
  readonly stateDir: string
  /** Where containers live without systemd, or where the operator wants them. */
  readonly cgroupParent: string
  /** The operator named it. */
  readonly chosen: boolean
}

/** Where monitors and containers live. */
export interface Placement {
  readonly cgroupParent: string
  readonly scope: WorkloadScope | undefined
}

/**
 * Under systemd the delegated scope, which also a program beside the agent finds by its being there. Containers that an agent
 * without systemd started are not moved: the place stays theirs until they have ended.
 */
export async function placeWorkloads(parts: Parts, config: Config): Promise<Placement> {
  const { layout, unit } = parts
  const plain = { cgroupParent: config.cgroupParent, scope: undefined }
  if (config.chosen || layout.mode !== 'v2' || layout.unified === undefined) return plain
  if ((await isPopulated(join(layout.unified, config.cgroupParent))) === true) return plain
  const name = scopeName(config.stateDir)
  const scope = new WorkloadScope({ ...parts, unified: layout.unified }, { name, path: scopePath(name, initCgroup()) })
  if (unit === undefined && (await isPopulated(join(layout.unified, scope.path))) !== true) return plain
  return { cgroupParent: scope.path, scope }
}

/** Moves this process into a leaf of its unit's cgroup, so that the unit's own may have children with limits. */
export async function enterLeaf(layout: CgroupLayout, unit: SystemdUnit): Promise<void> {
  if (layout.mode !== 'v2' || layout.unified === undefined) return
  const leaf = join(unit.cgroup, agentLeaf)
  await makeCgroup(layout.unified, leaf, [])
  await joinCgroup(join(layout.unified, leaf), process.pid)
}
