import { type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import { type CgroupLayout, cgroupDirectories, unifiedDirectory } from './layout.ts'

/** Who is in a cgroup: what is left to say of a container that nobody holds any more. */

/** Pids in the cgroup of this path and below it: in the v2 tree, or in the classic one where the runtime did not see the other. */
export function pidsIn(layout: CgroupLayout, path: string): readonly number[] {
  const inTree = layout.unified === undefined ? [] : pidsBelow(join(layout.unified, path))
  const classic = layout.classic.get('pids') ?? [...layout.classic.values()][0]
  return inTree.length > 0 || classic === undefined ? inTree : pidsBelow(join(classic, path))
}

function pidsBelow(directory: string): readonly number[] {
  try {
    const here = readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number)
    const children = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    return [...here, ...children.flatMap((child) => pidsBelow(join(directory, child.name)))]
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENODEV') return [] // gone, or going while it was read
    if (errnoOf(e) === 'EOPNOTSUPP') return [] // a threaded cgroup, whose processes its parent shows
    throw e
  }
}

/** Whether the cgroup of this path exists in any hierarchy. */
export const isThere = (layout: CgroupLayout, path: string): boolean =>
  cgroupDirectories(layout, path).some((directory) => {
    try {
      readdirSync(directory)
      return true
    } catch {
      return false // gone
    }
  })

/**
 * Resolves when nothing is in the cgroup of this path any more. The kernel tells by cgroup.events (cgroup-v2, "cgroup.events":
 * a change raises a file modified event); a container that is not in the v2 tree, as under crun on hybrid hosts, is looked at
 * again every `pauseMs`. Rejects only with the signal's reason.
 */
export async function untilEmpty(
  parts: { readonly layout: CgroupLayout; sleep(ms: number, signal: AbortSignal): Promise<void> },
  path: string,
  pauseMs: number,
  signal: AbortSignal
): Promise<void> {
  const own = unifiedDirectory(parts.layout, path)
  while (pidsIn(parts.layout, path).length > 0) {
    const changed = new AbortController()
    const watcher = own === undefined ? undefined : watchEvents(own, () => changed.abort())
    try {
      // Between the look and the watch it may have become empty.
      if (pidsIn(parts.layout, path).length === 0) return
      await parts.sleep(pauseMs, AbortSignal.any([signal, changed.signal])).catch((e: unknown) => {
        if (!changed.signal.aborted) throw e
      })
    } finally {
      watcher?.close()
    }
  }
}

function watchEvents(directory: string, changed: () => void): FSWatcher | undefined {
  try {
    return watch(join(directory, 'cgroup.events'), changed).on('error', changed)
  } catch {
    return undefined // not in this tree, gone, or no watch is to be had: then the pauses tell
  }
}
