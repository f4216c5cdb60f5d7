import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errnoOf, Fault } from '../../base/fault.ts'

/**
 * Ways below a folder that a hostile task fills and changes while we look. Every component is opened from its parent's
 * descriptor (`/proc/self/fd/N/NAME`, which the kernel resolves to the folder itself) and never through a link: whatever the
 * task swaps meanwhile, we stay in folders that were below the root when we opened them.
 */

/** open(2): names a file without opening it, so neither a fifo nor a device notices. Node's constants lack it. */
const O_PATH = 0o10000000
const folderFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
const maxDepth = 128

export const at = (folder: FileHandle, name: string): string => `/proc/self/fd/${folder.fd}/${name}`

/** Components of a path below the sandbox. Throws `Fault('invalid')` for one that says `..` or holds a zero byte. */
export function components(path: string): string[] {
  if (path.includes('\0')) throw new Fault('invalid', 'a path holds no zero byte')
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw new Fault('invalid', `a path in the sandbox does not go up: ${path}`)
  if (names.length > maxDepth) throw new Fault('invalid', `a path in the sandbox has at most ${maxDepth} folders`)
  return names
}

/** The sandbox itself. Its own path is ours and no task can change it. */
export async function openRoot(root: string): Promise<FileHandle> {
  try {
    return await open(root, folderFlags)
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') throw new Fault('not-found', 'the sandbox of this task is gone', {}, e)
    throw e
  }
}

/** Opens the folder `names` below `root`; the caller closes it. Throws `Fault('not-found')` or `denied` for a link. */
export async function openFolder(root: string, names: readonly string[]): Promise<FileHandle> {
  let folder = await openRoot(root)
  for (const [i, name] of names.entries()) {
    const parent = folder
    try {
      folder = await openChildFolder(parent, name, names.slice(0, i + 1).join('/'))
    } finally {
      await parent.close()
    }
  }
  return folder
}

export async function openChildFolder(parent: FileHandle, name: string, shown: string): Promise<FileHandle> {
  try {
    return await open(at(parent, name), folderFlags)
  } catch (e) {
    throw await folderFault(e, parent, name, shown)
  }
}

async function folderFault(e: unknown, parent: FileHandle, name: string, shown: string): Promise<unknown> {
  const errno = errnoOf(e)
  if (errno === 'ENOENT') return new Fault('not-found', `the sandbox has no ${shown}`, { path: shown }, e)
  if (errno === 'ENAMETOOLONG') return new Fault('invalid', `a name in ${shown} is too long`, { path: shown }, e)
  if (errno !== 'ELOOP' && errno !== 'ENOTDIR') return e
  const target = await openNamed(parent, name).catch(() => undefined)
  const isLink = target !== undefined && (await target.stat()).isSymbolicLink()
  await target?.close()
  if (isLink) return new Fault('denied', `${shown} is a link, and links are not followed`, { path: shown }, e)
  return new Fault('invalid', `${shown} is no folder`, { path: shown }, e)
}

/** A descriptor that only names what is there, even a link: `stat` tells what it is, and it stays that. */
export const openNamed = (parent: FileHandle, name: string): Promise<FileHandle> =>
  open(at(parent, name), O_PATH | constants.O_NOFOLLOW)

/** Opens for reading exactly what `named` names, which must be a regular file. */
export const openToRead = (named: FileHandle): Promise<FileHandle> => open(`/proc/self/fd/${named.fd}`, constants.O_RDONLY)

/** tar-stream's streams do not say what they carry. */
export async function* bytesOf(stream: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) if (chunk instanceof Uint8Array) yield chunk
}
