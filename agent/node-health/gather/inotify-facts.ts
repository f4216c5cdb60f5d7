import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Budget } from '../checks/budgets.ts'
import { type NodeRoots, readIfThere } from './roots.ts'

const mostDescriptors = 50_000

interface InotifyFacts {
  readonly instances: Budget
  readonly watches: Budget
}

/**
 * inotify is counted per user, and containers of root are root: counts the instances of root's processes and their watches
 * (proc(5), fdinfo). Looks at no more than 50,000 descriptors; a process that ends meanwhile counts nothing.
 */
export async function readInotify(roots: NodeRoots): Promise<InotifyFacts> {
  const limitOf = async (name: string): Promise<number> =>
    Number((await readIfThere(join(roots.proc, 'sys/fs/inotify', name))) ?? Number.NaN)
  const [mostInstances, mostWatches] = await Promise.all([limitOf('max_user_instances'), limitOf('max_user_watches')])
  let instances = 0
  let watches = 0
  let looked = 0
  for (const pid of (await readdir(roots.proc)).filter((name) => /^\d+$/.test(name))) {
    const folder = join(roots.proc, pid)
    const status = await readFile(join(folder, 'status'), 'utf8').catch(() => '') // it has ended
    if (!/^Uid:\s+0\s/m.test(status)) continue
    for (const fd of await readdir(join(folder, 'fd')).catch(() => [])) {
      if (++looked > mostDescriptors) break
      const target = await readlink(join(folder, 'fd', fd)).catch(() => '') // closed meanwhile
      if (target !== 'anon_inode:inotify') continue
      instances += 1
      const info = await readFile(join(folder, 'fdinfo', fd), 'utf8').catch(() => '')
      watches += info.split('\n').filter((line) => line.startsWith('inotify ')).length
    }
  }
  return { instances: { used: instances, limit: mostInstances }, watches: { used: watches, limit: mostWatches } }
}
