import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, symlink, unlink } from 'node:fs/promises'
import { type Extract, extract } from 'tar-stream'
import { errnoOf, Fault } from '../../base/fault.ts'
import { randomId } from '../../base/random.ts'
import { withHandle } from '../../base/replace-file.ts'
import { at, bytesOf, components, openChildFolder, openFolder } from './beneath.ts'

interface Written {
  readonly entries: number
  readonly bytes: number
}

const maxEntries = 100_000
/** What a folder answers that the task removed or replaced under us. */
const raceErrnos: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EEXIST', 'ENOTEMPTY'])
const maxBytes = 64 * 1024 ** 3

/**
 * Unpacks a tar into a folder of the sandbox. Files, folders and symbolic links are taken; everything else, and any name that
 * leaves the folder, is `Fault('invalid')`. What is new belongs to the sandbox's owner and is never set-user-id. A file
 * appears whole or not at all; what was unpacked before a fault stays.
 */
export async function writeArchive(
  root: string,
  path: string,
  tar: AsyncIterable<Uint8Array>,
  signal: AbortSignal
): Promise<Written> {
  const folder = await openFolder(root, components(path))
  return await withHandle(folder, async () => {
    const { uid, gid } = await folder.stat()
    const reader = new ArchiveReader(folder, { uid, gid })
    try {
      for await (const entry of entriesOf(tar)) {
        signal.throwIfAborted()
        await reader.take(entry)
      }
    } catch (e) {
      throw asFault(e, signal)
    }
    return reader.written
  })
}

type Entry = Extract extends AsyncIterable<infer E> ? E : never

/** Feeds the reader as fast as entries are taken; a source that fails fails the entries. */
function entriesOf(tar: AsyncIterable<Uint8Array>): Extract {
  const entries = extract()
  entries.on('error', () => undefined) // the loop over the entries gets it
  const feed = async (): Promise<void> => {
    let bytes = 0
    for await (const chunk of tar) {
      bytes += chunk.length
      if (bytes > maxBytes) throw new Fault('exhausted', 'the archive is larger than 64 GiB')
      if (entries.destroyed) return
      if (!entries.write(chunk)) await roomOrClose(entries)
    }
    entries.end(undefined)
  }
  feed().catch((e: unknown) => entries.destroy(e instanceof Error ? e : new Error(String(e))))
  return entries
}

function roomOrClose(entries: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      entries.off('drain', done)
      entries.off('close', done)
      resolve()
    }
    entries.on('drain', done)
    entries.on('close', done)
  })
}

function asFault(e: unknown, signal: AbortSignal): unknown {
  if (e instanceof Fault || signal.aborted) return signal.aborted ? signal.reason : e
  const errno = errnoOf(e)
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return new Fault('exhausted', 'the disk of the sandbox is full', {}, e)
  if (errno === 'ENAMETOOLONG') return new Fault('invalid', 'a name in the archive is longer than the file system takes', {}, e)
  if (errno !== undefined && raceErrnos.has(errno)) {
    return new Fault('conflict', 'the task changed the folder while it was written to: try again', {}, e)
  }
  if (errno === 'ECONNRESET') return new Fault('unavailable', 'the client went away in the middle of the archive', {}, e)
  if (errno !== undefined && errno !== 'STREAM_DESTROYED') return e
  // tar-stream throws bare errors for bytes that are no tar.
  return new Fault('invalid', `this is no sound tar archive: ${e instanceof Error ? e.message : String(e)}`, {}, e)
}

interface Owner {
  readonly uid: number
  readonly gid: number
}

class ArchiveReader {
  readonly #folder: FileHandle
  readonly #owner: Owner
  #entries = 0
  #bytes = 0

  constructor(folder: FileHandle, owner: Owner) {
    this.#folder = folder
    this.#owner = owner
  }

  get written(): Written {
    return { entries: this.#entries, bytes: this.#bytes }
  }

  async take(entry: Entry): Promise<void> {
    const { name, type, mode = 0o644, linkname } = entry.header
    this.#entries += 1
    if (this.#entries > maxEntries) throw new Fault('exhausted', `an archive has at most ${maxEntries} entries`)
    const names = components(name)
    const last = names.pop()
    if (last !== undefined) {
      await this.#within(names, async (parent) => {
        if (type === 'directory') await this.#makeFolder(parent, last, name, mode)
        else if (type === 'file' || type === 'contiguous-file') await this.#makeFile(parent, last, name, mode, bytesOf(entry))
        else if (type === 'symlink') await this.#makeLink(parent, last, name, linkname ?? '')
        else throw new Fault('invalid', `${name} is a ${type}: only files, folders and symbolic links can be copied in`)
      })
    }
    entry.resume()
  }

  /** Walks to a folder below ours, making what is missing. */
  async #within(names: readonly string[], body: (parent: FileHandle) => Promise<void>): Promise<void> {
    const opened: FileHandle[] = []
    try {
      let folder = this.#folder
      for (const [i, name] of names.entries()) {
        folder = await this.#openOrMake(folder, name, names.slice(0, i + 1).join('/'))
        opened.push(folder)
      }
      await body(folder)
    } finally {
      for (const folder of opened) await folder.close()
    }
  }

  async #openOrMake(parent: FileHandle, name: string, shown: string): Promise<FileHandle> {
    const isNew = await mkdir(at(parent, name), 0o755).then(() => true, exists)
    const folder = await openChildFolder(parent, name, shown)
    if (isNew) await folder.chown(this.#owner.uid, this.#owner.gid)
    return folder
  }

  async #makeFolder(parent: FileHandle, name: string, shown: string, mode: number): Promise<void> {
    await withHandle(await this.#openOrMake(parent, name, shown), (folder) => folder.chmod(mode & 0o777))
  }

  async #makeFile(parent: FileHandle, name: string, shown: string, mode: number, from: AsyncIterable<Uint8Array>): Promise<void> {
    const draft = at(parent, `.hearth-${randomId()}`)
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    try {
      await withHandle(await open(draft, flags, 0o600), async (file) => {
        for await (const chunk of from) {
          this.#bytes += chunk.length
          await writeAll(file, chunk)
        }
        await file.chown(this.#owner.uid, this.#owner.gid)
        await file.chmod(mode & 0o777)
      })
      await rename(draft, at(parent, name))
    } catch (e) {
      await rm(draft, { force: true })
      throw errnoOf(e) === 'EISDIR' ? new Fault('conflict', `${shown} is a folder in the sandbox and a file in the archive`) : e
    }
  }

  async #makeLink(parent: FileHandle, name: string, shown: string, target: string): Promise<void> {
    if (target === '' || target.includes('\0')) throw new Fault('invalid', `the link ${shown} points nowhere`)
    const draft = at(parent, `.hearth-${randomId()}`)
    await symlink(target, draft)
    try {
      await rename(draft, at(parent, name))
    } catch (e) {
      await unlink(draft)
      throw errnoOf(e) === 'EISDIR' ? new Fault('conflict', `${shown} is a folder in the sandbox and a link in the archive`) : e
    }
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += (await file.write(bytes, written, bytes.length - written)).bytesWritten
  }
}

function exists(e: unknown): false {
  if (errnoOf(e) === 'EEXIST') return false
  throw e
}
