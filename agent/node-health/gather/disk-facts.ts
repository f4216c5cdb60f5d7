import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../../base/fault.ts'
import type { DiskFacts } from '../checks/disk.ts'
import { type NodeRoots, readIfThere } from './roots.ts'

interface Mount {
  readonly point: string
  readonly readOnly: boolean
}

/** The file systems that hold these folders, each once, under the name of the folder that came first. */
export async function readDisks(roots: NodeRoots, folders: readonly string[]): Promise<readonly DiskFacts[]> {
  const mounts = parseMounts((await readIfThere(join(roots.proc, 'self/mountinfo'))) ?? '')
  const seen = new Map<string, DiskFacts>()
  for (const path of folders) {
    const mount = mountOf(mounts, path)
    const key = mount?.point ?? path
    if (seen.has(key)) continue
    const facts = await statfs(path).catch((e: unknown) => {
      if (errnoOf(e) === 'ENOENT') return undefined // nothing was ever kept there
      throw e
    })
    if (facts === undefined) continue
    seen.set(key, {
      path,
      // What root alone may use counts as used: tasks do not get it.
      totalBytes: (facts.blocks - facts.bfree + facts.bavail) * facts.bsize,
      freeBytes: facts.bavail * facts.bsize,
      totalInodes: facts.files,
      freeInodes: facts.ffree,
      readOnly: mount?.readOnly ?? false
    })
  }
  return [...seen.values()]
}

/** mountinfo (proc(5)): field 5 is the mount point with octal escapes, 6 the mount's options; the super block's come last. */
function parseMounts(text: string): readonly Mount[] {
  return text.split('\n').flatMap((line) => {
    const [head = '', tail = ''] = line.split(' - ')
    const [, , , , point, options = ''] = head.split(' ')
    if (point === undefined) return []
    const superOptions = tail.split(' ')[2] ?? ''
    const readOnly = options.split(',').includes('ro') || superOptions.split(',').includes('ro')
    return [
      { point: point.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8))), readOnly }
    ]
  })
}

/** The deepest mount above the path; of several on one point the last one covers the others. */
function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  let found: Mount | undefined
  for (const mount of mounts) {
    const within = mount.point === '/' || path === mount.point || path.startsWith(`${mount.point}/`)
    if (within && (found === undefined || mount.point.length >= found.point.length)) found = mount
  }
  return found
}
