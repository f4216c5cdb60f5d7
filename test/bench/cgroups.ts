import { readFileSync } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { killCgroup } from '../../isolators/cgroup2/tree.ts'
import { eventually } from './eventually.ts'

/** Ends every process below a cgroup of the bench and removes it from all hierarchies. Repeatable. */
export async function dropCgroup(path: string): Promise<void> {
  const layout = readCgroupLayout()
  const directories = cgroupDirectories(layout, path)
  for (const directory of directories) {
    if (directory.startsWith(`${layout.unified ?? '?'}/`)) await killCgroup(directory)
    else await signalAll(directory)
  }
  for (const directory of directories) await eventually(`${path} to be removed`, () => removeTree(directory))
}

async function signalAll(directory: string): Promise<void> {
  for (const child of await childrenOf(directory)) await signalAll(child)
  for (const pid of pidsOf(directory)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has just ended.
    }
  }
}

function pidsOf(directory: string): readonly number[] {
  try {
    return readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number)
  } catch {
    return [] // gone
  }
}

async function childrenOf(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []) // gone
  return entries.filter((e) => e.isDirectory()).map((e) => join(directory, e.name))
}

/** False while the kernel still holds it: EBUSY lasts some milliseconds after the last exit. */
async function removeTree(directory: string): Promise<boolean> {
  for (const child of await childrenOf(directory)) await removeTree(child)
  return rmdir(directory).then(
    () => true,
    (e: NodeJS.ErrnoException) => e.code === 'ENOENT'
  )
}
