import type { Stats } from 'node:fs'
import { type FileHandle, opendir } from 'node:fs/promises'
import { errnoOf } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import { components, openFolder, openNamed } from './beneath.ts'

export interface FileEntry {
  readonly name: string
  readonly kind: 'file' | 'folder' | 'link' | 'other'
  readonly bytes: number
  /** The permission bits. */
  readonly mode: number
  readonly modifiedMs: number
}

export interface FileListing {
  readonly entries: readonly FileEntry[]
  /** There are more than were listed. */
  readonly truncated: boolean
}

const maxEntries = 10_000

/** What is in a folder of the sandbox, or the one file itself, sorted by name; at most 10,000 entries. */
export async function listFiles(root: string, path: string): Promise<FileListing> {
  const names = components(path)
  const last = names.pop()
  const parent = await openFolder(root, names)
  return await withHandle(parent, async () => {
    if (last === undefined) return await listFolder(parent)
    const only = await entryOf(parent, last)
    if (only !== undefined && only.kind !== 'folder') return { entries: [only], truncated: false }
    return await withHandle(await openFolder(root, components(path)), listFolder)
  })
}

async function listFolder(folder: FileHandle): Promise<FileListing> {
  const names: string[] = []
  let truncated = false
  for await (const { name } of await opendir(`/proc/self/fd/${folder.fd}`)) {
    truncated = names.length >= maxEntries
    if (truncated) break
    names.push(name)
  }
  const entries: FileEntry[] = []
  for (const name of names.sort()) {
    const entry = await entryOf(folder, name)
    if (entry !== undefined) entries.push(entry)
  }
  return { entries, truncated }
}

/** Undefined for what has just vanished. */
async function entryOf(folder: FileHandle, name: string): Promise<FileEntry | undefined> {
  try {
    const stats = await withHandle(await openNamed(folder, name), (named) => named.stat())
    return { name, kind: kindOf(stats), bytes: stats.size, mode: stats.mode & 0o7777, modifiedMs: Math.floor(stats.mtimeMs) }
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENAMETOOLONG') return undefined
    throw e
  }
}

export function kindOf(stats: Stats): FileEntry['kind'] {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  return stats.isSymbolicLink() ? 'link' : 'other'
}
