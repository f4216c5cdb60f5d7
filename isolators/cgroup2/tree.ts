import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CgroupWrite } from './plan.ts'

/**
 * The only writer below the cgroup mounts.
 */

/** Makes the cgroup and every ancestor below `mount`, with the controllers that `writes` need switched on. Repeatable. */
export async function makeCgroup(mount: string, path: string, writes: readonly CgroupWrite[]): Promise<void> {
  const needed = new Set(writes.map((w) => w.file.split('.')[0] ?? ''))
  const parts = path.split('/').filter((p) => p !== '')
  let at = mount
  for (const part of parts) {
    await enable(at, needed)
    at = join(at, part)
    await mkdir(at, { recursive: true })
  }
  for (const { file, value } of writes) await writeFile(join(at, file), value)
}

async function enable(cgroup: string, controllers: ReadonlySet<string>): Promise<void> {
  const on = new Set((await readFile(join(cgroup, 'cgroup.subtree_control'), 'utf8')).trim().split(' '))
  const missing = [...controllers].filter((c) => !on.has(c))
  if (missing.length > 0) await writeFile(join(cgroup, 'cgroup.subtree_control'), missing.map((c) => `+${c}`).join(' '))
}

/** Moves a process into the cgroup. */
export const joinCgroup = (directory: string, pid: number): Promise<void> =>
  writeFile(join(directory, 'cgroup.procs'), String(pid))

/** Ends every process in the cgroup and below it (cgroup.kill, Linux 5.14). A cgroup that is gone is no error. */
export async function killCgroup(directory: string): Promise<boolean> {
  try {
    await writeFile(join(directory, 'cgroup.kill'), '1')
    return true
  } catch (e) {
    if (isGone(e)) return false
    throw e
  }
}

/** Whether any process is in the cgroup or below it; undefined where the cgroup is gone. */
export async function isPopulated(directory: string): Promise<boolean | undefined> {
  try {
    return /^populated 1$/m.test(await readFile(join(directory, 'cgroup.events'), 'utf8'))
  } catch (e) {
    if (isGone(e)) return undefined
    throw e
  }
}

/** The v1 rmdir answers EBUSY for some milliseconds after the last exit (facts on runtimes, 4.18). */
const removalTries = 50
const removalPauseMs = 10

/** Removes empty cgroups, in the order given for one after another. Those that are gone are no error. */
export async function removeCgroups(directories: readonly string[]): Promise<void> {
  for (const directory of directories) await removeDirectory(directory)
}

async function removeDirectory(directory: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await rmdir(directory)
      return
    } catch (e) {
      if (isGone(e)) return
      const busy = e instanceof Error && 'code' in e && (e.code === 'EBUSY' || e.code === 'ENOTEMPTY')
      if (!busy || attempt + 1 >= removalTries) throw e
      await delay(removalPauseMs)
    }
  }
}

/** Removes an empty ancestor directory of ours in every hierarchy; a busy one stays. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  for (const directory of directories) await rmdir(directory).catch(() => undefined) // busy or gone: both are fine
}

const isGone = (e: unknown): boolean => e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ENODEV')
