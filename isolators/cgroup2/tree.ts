import { rmdirSync, writeFileSync } from 'node:fs'
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errnoOf } from '../../base/fault.ts'
import type { CgroupWrite } from './plan.ts'

/**
 * The only writer below the cgroup mounts.
 */

/** Makes the cgroup and every ancestor below `mount`, with the controllers that `writes` need switched on. Repeatable. */
export async function makeCgroup(mount: string, path: string, writes: readonly CgroupWrite[]): Promise<void> {
  const needed = new Set(writes.map(controllerOf))
  const parts = path.split('/').filter((p) => p !== '')
  let at = mount
  for (const part of parts) {
    await enable(at, needed)
    at = join(at, part)
    await mkdir(at, { recursive: true })
  }
  for (const { file, value } of writes) await writeFile(join(at, file), value)
}

const controllerOf = ({ file }: CgroupWrite): string => file.split('.')[0] ?? ''

/** Makes a cgroup of one classic hierarchy, where controllers need no switching on. Repeatable. */
export async function makeClassicCgroup(directory: string, writes: readonly CgroupWrite[]): Promise<void> {
  await mkdir(directory, { recursive: true })
  for (const { file, value } of writes) await writeFile(join(directory, file), value)
}

/**
 * Writes into a cgroup that is there, with the controllers of what is needed switched on. A file that is not there matters only where
 * its value is not the default.
 */
export async function writeLimits(
  mount: string,
  path: string,
  writes: readonly (CgroupWrite & { readonly isNeeded: boolean })[]
): Promise<void> {
  const needed = new Set(writes.flatMap((w) => (w.isNeeded ? [controllerOf(w)] : [])))
  let at = mount
  for (const part of path.split('/').filter((p) => p !== '')) {
    await enable(at, needed)
    at = join(at, part)
  }
  for (const { file, value, isNeeded } of writes) {
    try {
      await writeFile(join(at, file), value)
    } catch (e) {
      if (isNeeded || !isAbsent(e)) throw e
    }
  }
}

/**
 * Asks the kernel to take back what the cgroup has above so many bytes (memory.reclaim, Linux 5.19). As much as it can: EAGAIN says
 * that it was less. 0: there is no limit.
 */
export async function takeBack(directory: string, bytes: number): Promise<void> {
  if (bytes === 0) return
  try {
    const current = Number(await readFile(join(directory, 'memory.current'), 'utf8'))
    if (current > bytes) await writeFile(join(directory, 'memory.reclaim'), String(current - bytes))
  } catch (e) {
    if (errnoOf(e) !== 'EAGAIN' && !isAbsent(e)) throw e
  }
}

/** A new file cannot be made there: what the kernel has not, open(2) with O_CREAT refuses. */
const isAbsent = (e: unknown): boolean => ['ENOENT', 'EACCES', 'EPERM', 'EOPNOTSUPP'].includes(errnoOf(e) ?? '')

async function enable(cgroup: string, controllers: ReadonlySet<string>): Promise<void> {
  const on = new Set((await readFile(join(cgroup, 'cgroup.subtree_control'), 'utf8')).trim().split(' '))
  const missing = [...controllers].filter((c) => !on.has(c))
  if (missing.length > 0) await writeFile(join(cgroup, 'cgroup.subtree_control'), missing.map((c) => `+${c}`).join(' '))
}

/** Moves a process into the cgroup. */
export const joinCgroup = (directory: string, pid: number): Promise<void> =>
  writeFile(join(directory, 'cgroup.procs'), String(pid))

/** Ends every process in the cgroup and below it (cgroup.kill, Linux 5.14). A cgroup that is gone is no error. */
export function killCgroup(directory: string): boolean {
  try {
    writeFileSync(join(directory, 'cgroup.kill'), '1')
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

/** rmdir on v1 answers EBUSY for some milliseconds after the last exit (facts on runtimes, 4.18): the pauses between tries. */
const removalPausesMs = [1, 1, 2, 4, 8, ...new Array<number>(50).fill(10)]

/**
 * Removes empty cgroups, in the order given. Those that are gone are no error. Synchronous but for the pauses: ten rmdirs take
 * less time than ten turns of the thread pool.
 */
export async function removeCgroups(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    for (const pauseMs of [...removalPausesMs, undefined]) {
      if (isRemoved(directory, pauseMs === undefined)) break
      await delay(pauseMs)
    }
  }
}

function isRemoved(directory: string, isLast: boolean): boolean {
  try {
    rmdirSync(directory)
    return true
  } catch (e) {
    if (isGone(e)) return true
    if (isLast || !isBusy(e)) throw e
    return false
  }
}

const isBusy = (e: unknown): boolean => e instanceof Error && 'code' in e && (e.code === 'EBUSY' || e.code === 'ENOTEMPTY')

/** Removes an empty ancestor directory of ours in every hierarchy; a busy one stays. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  for (const directory of directories) await rmdir(directory).catch(() => undefined) // busy or gone: both are fine
}

const isGone = (e: unknown): boolean => e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ENODEV')
