import { once } from 'node:events'
import type { Stats } from 'node:fs'
import { type FileHandle, opendir, readlink } from 'node:fs/promises'
import { pack as createPack, type Header, type Pack } from 'tar-stream'
import { errnoOf, Fault } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import { at, bytesOf, components, openChildFolder, openFolder, openNamed, openToRead } from './beneath.ts'
import { kindOf } from './list.ts'

const maxEntries = 200_000
const maxDepth = 128
const pieceBytes = 64 * 1024

/**
 * A tar of one file or folder of the sandbox, under its own last name (`.` for the sandbox itself). Links go in as links;
 * fifos, sockets and devices are left out. A file that changes while it is read keeps the size it had at first.
 */
export async function readArchive(root: string, path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const names = components(path)
  const last = names.pop()
  const parent = await openFolder(root, names)
  const named = last === undefined ? undefined : await openNamedOrClose(parent, last, path)
  const pack = createPack({ highWaterMark: 2 * pieceBytes })
  const writer = new ArchiveWriter(pack, signal)
  pack.on('error', () => undefined) // the reader of the body gets it; without one there is nobody to tell
  const stop = (): void => void pack.destroy(new Error('cancelled'))
  signal.addEventListener('abort', stop, { once: true })
  const work = async (): Promise<void> => {
    if (last === undefined) await writer.folder(parent, '.', await parent.stat(), 0)
    else if (named !== undefined) await writer.named(parent, last, last, named, 0)
    pack.finalize()
  }
  work()
    .catch((e: unknown) => void pack.destroy(e instanceof Error ? e : new Error(String(e))))
    .finally(async () => {
      signal.removeEventListener('abort', stop)
      await named?.close()
      await parent.close()
    })
    .catch(() => undefined) // closing what was only read
  return bytesOf(pack)
}

async function openNamedOrClose(parent: FileHandle, name: string, path: string): Promise<FileHandle> {
  try {
    const named = await openNamed(parent, name)
    if (kindOf(await named.stat()) !== 'other') return named
    await named.close()
    throw new Fault('invalid', `${path} is neither file nor folder`, { path })
  } catch (e) {
    await parent.close()
    if (errnoOf(e) === 'ENOENT') throw new Fault('not-found', `the sandbox has no ${path}`, { path }, e)
    throw e
  }
}

type TarHeader = Partial<Header> & Pick<Header, 'name'>

class ArchiveWriter {
  readonly #pack: Pack
  readonly #signal: AbortSignal
  #entries = 0

  constructor(pack: Pack, signal: AbortSignal) {
    this.#pack = pack
    this.#signal = signal
  }

  async named(parent: FileHandle, name: string, shown: string, named: FileHandle, depth: number): Promise<void> {
    const stats = await named.stat()
    switch (kindOf(stats)) {
      case 'file':
        return await this.#file(named, shown, stats)
      case 'link':
        return await this.#link(parent, name, shown, stats)
      case 'folder': {
        const folder = await openChildFolder(parent, name, shown)
        return await withHandle(folder, async () => this.folder(folder, shown, await folder.stat(), depth))
      }
      case 'other':
        return
    }
  }

  async folder(folder: FileHandle, shown: string, stats: Stats, depth: number): Promise<void> {
    if (depth > maxDepth) throw new Fault('exhausted', `${shown} is nested deeper than ${maxDepth} folders`)
    await this.#entry({ ...this.#header(`${shown}/`, stats), type: 'directory', size: 0 })
    for await (const { name } of await opendir(`/proc/self/fd/${folder.fd}`)) {
      this.#signal.throwIfAborted()
      await this.#child(folder, name, `${shown}/${name}`, depth + 1)
    }
  }

  /** What vanished, or was swapped for something else meanwhile, is left out. */
  async #child(folder: FileHandle, name: string, shown: string, depth: number): Promise<void> {
    const named = await openNamed(folder, name).catch(vanished)
    if (named === undefined) return
    await withHandle(named, () => this.named(folder, name, shown, named, depth).catch(vanished))
  }

  async #file(named: FileHandle, shown: string, stats: Stats): Promise<void> {
    await withHandle(await openToRead(named), async (file) => {
      const sink = this.#pack.entry({ ...this.#header(shown, stats), type: 'file', size: stats.size })
      sink.on('error', () => undefined) // the pack's own error, which the reader of the body gets
      const done = once(sink, 'finish', { signal: this.#signal })
      // Awaited below; a failure in between must not be an unhandled one.
      done.catch(() => undefined)
      for (let at = 0; at < stats.size; ) {
        this.#signal.throwIfAborted()
        const piece = Buffer.allocUnsafe(Math.min(pieceBytes, stats.size - at))
        const { bytesRead } = await file.read(piece, 0, piece.length, at)
        // A file that shrank is filled up with zeros: its size is already written.
        if (bytesRead === 0) piece.fill(0)
        const bytes = bytesRead === 0 ? piece : piece.subarray(0, bytesRead)
        if (!sink.write(bytes)) await once(sink, 'drain', { signal: this.#signal })
        at += bytes.length
      }
      sink.end(undefined)
      await done
    })
  }

  async #link(parent: FileHandle, name: string, shown: string, stats: Stats): Promise<void> {
    const linkname = await readlink(at(parent, name)).catch((e: unknown) => {
      throw new Fault('not-found', `${shown} changed while it was read`, { path: shown }, e)
    })
    await this.#entry({ ...this.#header(shown, stats), type: 'symlink', size: 0, linkname })
  }

  #entry(header: TarHeader): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pack.entry(header, (e) => (e ? reject(e) : resolve()))
    })
  }

  #header(name: string, stats: Stats): TarHeader {
    this.#signal.throwIfAborted()
    this.#entries += 1
    if (this.#entries > maxEntries) throw new Fault('exhausted', `an archive has at most ${maxEntries} entries`)
    return { name, mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid, mtime: stats.mtime }
  }
}

/** Undefined for what is gone or no longer what it was; other errors go on. */
function vanished(e: unknown): undefined {
  const errno = errnoOf(e)
  const isRace = errno === 'ENOENT' || errno === 'EINVAL' || errno === 'ENAMETOOLONG'
  const isSwapped = e instanceof Fault && (e.code === 'denied' || e.code === 'not-found' || e.code === 'invalid')
  if (!isRace && !isSwapped) throw e
}
