import { type FileHandle, open, stat } from 'node:fs/promises'
import { errnoOf, Fault } from '../../base/fault.ts'

/** One file of a rotated log, known by its inode: names move on under the reader. */
export interface Generation {
  readonly path: string
  readonly inode: number
  readonly bytes: number
  readonly modifiedMs: number
}

/** Beyond this no rotated file is looked for. */
export const maxGenerations = 100
const holesMost = 3

export const heldName = (path: string): string => `${path}.held`
export const nextName = (path: string): string => `${path}.next`
export const rotatedName = (path: string, n: number): string => `${path}.${n}`

/**
 * The files of a log, newest first. The names are looked up in the order in which a file gets them (rotated-files.ts), so that
 * one that moves on meanwhile is met twice, and counts where it was met last, but never missed.
 */
export async function listGenerations(path: string): Promise<Generation[]> {
  const found: Generation[] = []
  const take = (seen: Generation | undefined): void => {
    if (seen === undefined) return
    const before = found.findIndex((other) => other.inode === seen.inode)
    if (before >= 0) found.splice(before, 1)
    found.push(seen)
  }
  const next = await look(nextName(path))
  const newest = await look(path)
  take(newest)
  // Written to, it has been the log. Where another file is by now, conmon began that one by itself, and it is the newer one.
  if (next !== undefined && next.bytes > 0 && next.inode !== newest?.inode) take(next)
  take(await look(heldName(path)))
  for (let n = 1, holes = 0; n < maxGenerations && holes < holesMost; n += 1) {
    const seen = await look(rotatedName(path, n))
    take(seen)
    holes = seen === undefined ? holes + 1 : 0
  }
  return found
}

async function look(path: string): Promise<Generation | undefined> {
  try {
    const { ino, size, mtimeMs } = await stat(path)
    return { path, inode: ino, bytes: size, modifiedMs: mtimeMs }
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}

export interface OpenGeneration {
  readonly inode: number
  readonly file: FileHandle
}

const lookUps = 50

/** Opens the file that `choose` picks out of the list, newest first; undefined where it picks none. */
export async function openGeneration(
  path: string,
  choose: (list: readonly Generation[]) => Generation | undefined
): Promise<OpenGeneration | undefined> {
  for (let i = 0; i < lookUps; i += 1) {
    const chosen = choose(await listGenerations(path))
    if (chosen === undefined) return undefined
    const file = await openIfThere(chosen.path)
    if (file === undefined) continue
    if ((await file.stat()).ino === chosen.inode) return { inode: chosen.inode, file }
    await file.close() // renamed between the look and the opening
  }
  throw new Fault('unavailable', `the log ${path} is rotated faster than it can be opened`)
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
