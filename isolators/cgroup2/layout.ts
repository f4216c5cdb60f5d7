import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Where the controllers sit. `v2`: one tree with all of them, ours to write. `hybrid` and `v1`: the classic hierarchies carry
 * the limits, set by the runtime; a bare v2 tree beside them (hybrid) still gives cgroup.kill and cgroup.events.
 */
export interface CgroupLayout {
  readonly mode: 'v2' | 'hybrid' | 'v1'
  /** Mount point of the v2 tree, undefined in mode `v1`. */
  readonly unified: string | undefined
  /** Mount points of the v1 hierarchies by controller (or `name=…`). */
  readonly classic: ReadonlyMap<string, string>
}

/** Reads mountinfo (proc(5)): field 5 is the mount point, after ` - ` come type, source and super options. */
export function readCgroupLayout(mountinfoPath = '/proc/self/mountinfo'): CgroupLayout {
  const classic = new Map<string, string>()
  let unified: string | undefined
  for (const line of readFileSync(mountinfoPath, 'utf8').split('\n')) {
    const [head = '', tail = ''] = line.split(' - ')
    const mountPoint = head.split(' ')[4] ?? ''
    const [type = '', , options = ''] = tail.split(' ')
    if (type === 'cgroup2') unified ??= mountPoint
    if (type === 'cgroup') {
      for (const option of options.split(',').filter((o) => controllers.has(o) || o.startsWith('name=')))
        classic.set(option, mountPoint)
    }
  }
  if (classic.size === 0) return { mode: 'v2', unified, classic }
  return { mode: unified === undefined ? 'v1' : 'hybrid', unified, classic }
}

const controllers = new Set(
  'cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb rdma misc'.split(' ')
)

/** Every directory that a cgroup of this path has, in all hierarchies. */
export function cgroupDirectories(layout: CgroupLayout, path: string): readonly string[] {
  const mounts = new Set([...layout.classic.values(), ...(layout.unified === undefined ? [] : [layout.unified])])
  return [...mounts].map((mount) => join(mount, path))
}

export const unifiedDirectory = (layout: CgroupLayout, path: string): string | undefined =>
  layout.unified === undefined ? undefined : join(layout.unified, path)
