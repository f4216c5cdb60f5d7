import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type CgroupLayout, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'

/** Where the kernel's views are mounted; other folders in tests. */
export interface HostRoots {
  readonly proc: string
  readonly sys: string
  readonly etc: string
}

export const systemRoots: HostRoots = { proc: '/proc', sys: '/sys', etc: '/etc' }

const limiting = ['cpu', 'memory', 'pids'] as const
export type LimitingController = (typeof limiting)[number]

export interface CgroupView {
  readonly mode: CgroupLayout['mode']
  /** Where the v2 tree is mounted. */
  readonly unified: string | undefined
  /** Those that the kernel offers. */
  readonly controllers: Readonly<Partial<Record<LimitingController, ControllerPlace>>>
}

interface ControllerPlace {
  readonly version: 1 | 2
  /** Where the hierarchy with the controller is mounted. */
  readonly mount: string
}

/** Reads which cgroup trees there are and which controllers are in them (cgroups(7)). */
export async function readCgroups(roots: HostRoots): Promise<CgroupView> {
  const { mode, unified, classic } = readCgroupLayout(join(roots.proc, 'self/mountinfo'))
  if (unified === undefined && classic.size === 0) {
    throw new Fault('unavailable', 'no cgroup file system is mounted: mount -t cgroup2 none /sys/fs/cgroup')
  }
  const here = (mount: string): string => mount.replace(/^\/sys(?=\/)/, roots.sys)
  const tree = unified === undefined ? undefined : here(unified)
  const offered = tree === undefined ? '' : await readFile(join(tree, 'cgroup.controllers'), 'utf8')
  const inTree = new Set(offered.trim().split(/\s+/))
  const controllers: Partial<Record<LimitingController, ControllerPlace>> = {}
  for (const name of limiting) {
    const mount = classic.get(name)
    if (mount !== undefined) controllers[name] = { version: 1, mount: here(mount) }
    else if (tree !== undefined && inTree.has(name)) controllers[name] = { version: 2, mount: tree }
  }
  return { mode, unified: tree, controllers }
}
