import { join } from 'node:path'
import { Fault } from '../../../base/fault.ts'
import type { CgroupLayout } from '../../cgroup2/layout.ts'
import { joinCgroup, makeCgroup } from '../../cgroup2/tree.ts'

/** Cgroup, beside those of the containers, of the processes that look after them while no agent lives. */
export const monitorsName = 'monitors'

/** Undefined where they may stay beside the agent: there no unit's end takes them with it. */
export function monitorPlace(layout: CgroupLayout, cgroupParent: string): ((pid: number) => Promise<void>) | undefined {
  if (layout.mode !== 'v2') return undefined
  return async (pid) => {
    if (layout.unified === undefined) throw new Fault('unavailable', 'the cgroup v2 tree is not mounted')
    const path = join(cgroupParent, monitorsName)
    await makeCgroup(layout.unified, path, [])
    await joinCgroup(join(layout.unified, path), pid)
  }
}
