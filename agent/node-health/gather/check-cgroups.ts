import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type CgroupLayout, cgroupDirectories } from '../../../isolators/cgroup2/layout.ts'
import { type ProgramCgroup, programCgroup, removeProgramCgroup } from '../../../isolators/cgroup2/program-cgroup.ts'
import { removeEmpty } from '../../../isolators/cgroup2/tree.ts'
import { isSameProcess, readProcess } from '../../../isolators/runtime/oci/process-table.ts'
import { agentLeaf } from '../../host/systemd.ts'

/** What one own check may use. */
export const checkLimits = { milliCpu: 0, memoryBytes: 256 * 1024 * 1024, diskBytes: 0, pidsMax: 128 } as const

export interface CheckPlace {
  readonly layout: CgroupLayout
  /** See `checksParent`. */
  readonly cgroupParent: string
}

const checksName = 'checks'

/**
 * Where checks have their cgroups: under systemd beside the agent in its own delegated unit, never in the containers' scope, which
 * only systemd may make and which nobody but containers may keep; elsewhere beside the containers, whose names are ids.
 * `cgroupText`: this process's /proc/self/cgroup.
 */
export function checksParent(mode: CgroupLayout['mode'], cgroupParent: string, cgroupText: string): string {
  const own = /^0::(\/.*)$/m.exec(cgroupText)?.[1] ?? '/'
  if (mode === 'v2' && basename(own) === agentLeaf && dirname(own).endsWith('.service')) return dirname(own)
  return cgroupParent.endsWith('.scope') ? '/hearth-checks' : cgroupParent
}

/** The cgroups of one round of checks: named after this process, so that the next one knows which are left of one that was killed. */
export class CheckCgroups {
  readonly #place: CheckPlace
  readonly #parent: string
  #made = 0

  constructor(place: CheckPlace) {
    this.#place = place
    this.#parent = join(place.cgroupParent, checksName)
  }

  /** Rejects where the host lets us have none. */
  async make(): Promise<ProgramCgroup> {
    this.#made += 1
    const self = readProcess(process.pid)
    const name = `${process.pid}-${self?.startTicks ?? 0}-${this.#made}`
    return programCgroup(this.#place.layout, join(this.#parent, name), checkLimits)
  }

  /** Ends what rounds left whose process is gone. */
  async clear(): Promise<void> {
    for (const name of await this.#names()) {
      const [pid = 0, startTicks = 0] = name.split('-').map(Number)
      if (isSameProcess(pid, startTicks)) continue
      const path = join(this.#parent, name)
      await removeProgramCgroup(this.#place.layout, path, cgroupDirectories(this.#place.layout, path))
    }
  }

  /** The parent goes with the last one. */
  async close(): Promise<void> {
    await removeEmpty(cgroupDirectories(this.#place.layout, this.#parent))
  }

  async #names(): Promise<ReadonlySet<string>> {
    const names = new Set<string>()
    for (const directory of cgroupDirectories(this.#place.layout, this.#parent)) {
      const entries = await readdir(directory).catch(() => []) // no check was ever run
      for (const name of entries) if (/^\d+-\d+-\d+$/.test(name)) names.add(name)
    }
    return names
  }
}
