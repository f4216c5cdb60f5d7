import { isFault } from '../../../base/fault.ts'
import type { CgroupView } from '../../host/cgroups.ts'
import { checkFloor } from '../../host/facts.ts'
import { type Check, rowsOf } from '../verdict.ts'

const limiting = ['cpu', 'memory', 'pids'] as const

/** The kernel's age, the cgroup trees and the controllers in them. */
export function judgeKernel(release: string, cgroups: CgroupView): readonly Check[] {
  return [judgeRelease(release, cgroups), judgeCgroups(cgroups)]
}

function judgeRelease(release: string, cgroups: CgroupView): Check {
  const row = rowsOf('kernel')
  try {
    checkFloor(release, { ...cgroups, unified: cgroups.unified ?? 'judged below' })
    return row.ok(`Linux ${release}`)
  } catch (e) {
    if (!isFault(e)) throw e
    return row.failure(e.message, 'install a kernel of 5.14 or newer and reboot')
  }
}

function judgeCgroups({ mode, unified, controllers }: CgroupView): Check {
  const row = rowsOf('cgroups')
  if (unified === undefined) {
    return row.failure(
      'no cgroup v2 tree is mounted',
      'mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified'
    )
  }
  const missing = limiting.filter((name) => controllers[name] === undefined)
  if (missing.length > 0) {
    const remedy = `boot with cgroup_enable=${missing.join(',')} or systemd.unified_cgroup_hierarchy=1`
    return row.warning(`no ${missing.join(' and no ')} controller: tasks cannot be limited there`, remedy)
  }
  const how = mode === 'v2' ? 'cgroup v2' : `cgroup v1 and v2 side by side (${mode})`
  return row.ok(`${how}; ${limiting.map((name) => `${name} v${controllers[name]?.version}`).join(', ')}`)
}
