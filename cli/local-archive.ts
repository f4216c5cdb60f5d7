import { createReadStream, createWriteStream, lstatSync, type Stats } from 'node:fs'
import { opendir, readlink, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pack as createPack, extract, type Header, type Pack } from 'tar-stream'
import { errnoOf, Fault } from '../base/fault.ts'
import { makeFolder } from './make-folder.ts'

/** A tar of what lies in a folder, each name below `prefix`. */
export function packFolder(path: string, prefix: string): AsyncIterable<Uint8Array> {
  return packing((pack) => addChildren(pack, path, prefix))
}

/** A tar of one file, folder or link under the name `name`. */
export function packNamed(path: string, name: string): AsyncIterable<Uint8Array> {
  return packing((pack) => addNamed(pack, path, name))
}

function packing(work: (pack: Pack) => Promise<void>): AsyncIterable<Uint8Array> {
  const pack = createPack()
  work(pack)
    .then(() => pack.finalize())
    .catch((e: unknown) => void pack.destroy(e instanceof Error ? e : new Error(String(e))))
  return pack as unknown as AsyncIterable<Uint8Array>
}

async function addChildren(pack: Pack, path: string, prefix: string): Promise<void> {
  for await (const { name } of await opendir(path))
    await addNamed(pack, join(path, name), prefix === '' ? name : `${prefix}/${name}`)
}

async function addNamed(pack: Pack, path: string, name: string): Promise<void> {
  const stats = lstatSync(path)
  if (stats.isDirectory()) {
    await addEntry(pack, { ...header(`${name}/`, stats), type: 'directory' })
    await addChildren(pack, path, name)
  } else if (stats.isSymbolicLink())
    await addEntry(pack, { ...header(name, stats), type: 'symlink', linkname: await readlink(path) })
  else if (stats.isFile())
    await pipeline(createReadStream(path, { end: Math.max(0, stats.size - 1) }), fileEntry(pack, name, stats))
  else throw new Fault('unsupported', `${path} is neither file, folder nor link and cannot be copied`, { path })
}

// tar-stream's entries are streamx streams, which pipeline takes but node's types do not know.
const fileEntry = (pack: Pack, name: string, stats: Stats): NodeJS.WritableStream =>
  pack.entry({ ...header(name, stats), size: stats.size }) as unknown as NodeJS.WritableStream

const addEntry = (pack: Pack, head: Partial<Header> & Pick<Header, 'name'>): Promise<void> =>
  new Promise((resolve, reject) => pack.entry(head, (e) => (e ? reject(e) : resolve())))

const header = (name: string, stats: Stats) => ({ name, mode: stats.mode & 0o7777, mtime: stats.mtime })

/**
 * Unpacks a tar that holds one file or folder. `place` gives the local path for each name in it. The archive comes from a
 * container, so nothing in it may lead out of the place: no `..`, no writing through links.
 */
export async function unpackTo(tar: AsyncIterable<Uint8Array>, place: (name: string) => string): Promise<number> {
  const reader = extract()
  const feeding = pipeline(Readable.from(tar), reader as unknown as NodeJS.WritableStream)
  feeding.catch(() => undefined) // the loop below fails with the same error
  let entries = 0
  for await (const entry of reader) {
    const { name, type, linkname, mode } = entry.header
    const path = place(checkedName(name))
    refuseLinks(path, name)
    if (type === 'directory') makeFolder(path)
    else if (type === 'symlink') await makeLink(path, linkname ?? '')
    else if (type === 'file') await writeFile(path, mode ?? 0o644, entry as unknown as AsyncIterable<Uint8Array>)
    entry.resume()
    entries += 1
  }
  await feeding
  return entries
}

function checkedName(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (name.startsWith('/') || parts.includes('..'))
    throw new Fault('invalid', `the archive holds the name ${JSON.stringify(name)}`)
  return parts.join('/')
}

/** Of the parents that the archive itself made, none may be a link. */
function refuseLinks(path: string, name: string): void {
  const depth = name.split('/').filter((part) => part !== '' && part !== '.').length
  let parent = dirname(path)
  for (let i = 1; i < depth; i += 1, parent = dirname(parent)) {
    if (lstatSync(parent, { throwIfNoEntry: false })?.isSymbolicLink()) {
      throw new Fault('invalid', `the archive writes ${JSON.stringify(name)} through a link`)
    }
  }
}

async function makeLink(path: string, target: string): Promise<void> {
  await rm(path, { force: true })
  await symlink(target, path)
}

async function writeFile(path: string, mode: number, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  // A link of that name is replaced, never followed.
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) await rm(path)
  try {
    await pipeline(bytes, createWriteStream(path, { mode: mode & 0o777 }))
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') throw new Fault('not-found', `${dirname(path)} does not exist`, { path }, e)
    throw e
  }
}
