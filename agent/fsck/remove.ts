import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Fault } from '../../base/fault.ts'
import { cgroupDirectories } from '../../isolators/cgroup2/layout.ts'
import { removeCgroups } from '../../isolators/cgroup2/tree.ts'
import { isSameProcess } from '../../isolators/runtime/oci/process-table.ts'
import type { Finding } from './compare.ts'
import { mountPointsBelow, type Places } from './observe.ts'

/** Removes one object that plan.ts has found to be ours, unowned and without life. Throws a Fault where it must not or cannot. */
export async function removeObject(places: Places, { kind, id, containerId }: Finding): Promise<void> {
  switch (kind) {
    case 'cgroup': {
      // rmdir(2) removes a cgroup only while nothing is in it. `task` is the runtime's own one on v2 hosts.
      const own = cgroupDirectories(places.layout, join(places.cgroupParent, containerId))
      return removeCgroups(places.layout.mode === 'v2' ? own.flatMap((d) => [join(d, 'task'), d]) : own)
    }
    case 'conmon':
      return endProcess(id)
    case 'overlay':
      await removeTree(join(id, 'upper'))
      return removeTree(join(id, 'work'))
    case 'bundle':
    case 'runtime_state':
    case 'exit_file':
    case 'lease':
    case 'sandbox_dir':
      return removeTree(id)
    case 'log_file':
      return undefined // goes with its sandbox
    case 'mount':
      throw new Fault('conflict', `${id} is not Hearth’s to unmount`)
  }
}

/** How long a killed process may take to go; one that waits for a broken disk takes longer, and is found again. */
const endPauses = new Array<number>(100).fill(10)

async function endProcess(id: string): Promise<void> {
  const [pid = 0, startTicks = 0] = id.split(' ').map(Number)
  if (!isSameProcess(pid, startTicks)) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended between the look and the signal.
  }
  for (const pauseMs of endPauses) {
    if (!isSameProcess(pid, startTicks)) return
    await delay(pauseMs)
  }
}

/** What is below a mount belongs to somebody. */
async function removeTree(path: string): Promise<void> {
  const [mounted] = mountPointsBelow([path])
  if (mounted !== undefined) throw new Fault('conflict', `${mounted} is still mounted; unmount it and try again`)
  await rm(path, { recursive: true, force: true })
}
