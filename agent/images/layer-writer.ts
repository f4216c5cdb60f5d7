import { createHash, type Hash } from 'node:crypto'
import * as fs from 'node:fs'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { ContentRow, ContentsWriter } from './layer-contents.ts'
import type { ImageLimits } from './limits.ts'
import { SpecialNodes } from './special-nodes.ts'
import { shownName } from './tar-header.ts'
import type { TarEntry, TarReader } from './tar-reader.ts'

/** What all layers of one import have used of its limits. */
export interface Spent {
  bytes: number
  entries: number
}

export interface LayerFacts {
  readonly entries: number
  readonly bytes: number
  /** Directories that hide what lower layers have there; names one byte to a character. */
  readonly opaque: readonly string[]
  /** Device nodes that the archive has and the layer has not. */
  readonly skippedDevices: number
  readonly skippedAttributes: number
}

interface DirectoryMark {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
}

const whiteoutPrefix = '.wh.'
const opaqueMark = '.wh..wh..opq'
const statfsEveryBytes = 32 * 1024 * 1024
const latestSeconds = 2 ** 33
const largestId = 2 ** 32 - 2
const plainDirectory: DirectoryMark = { mode: 0o755, uid: 0, gid: 0, mtimeSeconds: 0 }

/**
 * Writes one layer into an empty folder that nobody else writes to. Every parent is looked at (lstat) before anything is made below
 * it, no link is followed, and nothing that exists is written over: no entry can land outside.
 */
export class LayerWriter {
  readonly #root: string
  readonly #limits: ImageLimits
  readonly #spent: Spent
  readonly #whiteouts: boolean
  readonly #special: SpecialNodes
  readonly #contents: Pick<ContentsWriter, 'add'>
  /** Directories known to be real ones, with what is set on them at the end. */
  readonly #directories = new Map<string, DirectoryMark>([['', plainDirectory]])
  /** Made by the child, maybe not there yet. */
  readonly #pending = new Set<string>()
  readonly #opaque = new Set<string>()
  readonly #removed = new Set<string>()
  readonly #rootBytes: string
  #entries = 0
  #bytes = 0
  #skippedDevices = 0
  #skippedAttributes = 0
  #uncheckedBytes = statfsEveryBytes
  /** Of the file at work. */
  #hash: Hash = createHash('sha256')

  /** `whiteouts`: names that begin with `.wh.` remove what lower layers have (OCI image spec, "Whiteouts"). */
  constructor(
    root: string,
    limits: ImageLimits,
    spent: Spent,
    contents: Pick<ContentsWriter, 'add'>,
    { whiteouts }: { readonly whiteouts: boolean }
  ) {
    this.#contents = contents
    this.#root = root
    this.#rootBytes = Buffer.from(root, 'utf8').toString('latin1')
    this.#limits = limits
    this.#spent = spent
    this.#whiteouts = whiteouts
    this.#special = new SpecialNodes(root)
  }

  async add(entry: TarEntry, reader: TarReader): Promise<void> {
    this.#countEntry()
    const path = this.#cleanPath(entry.name, entry.name)
    if (entry.uid > largestId || entry.gid > largestId) throw refused(entry.name, 'it has an owner or group that cannot exist')
    try {
      await this.#put(path, entry, reader)
    } catch (e) {
      throw translated(e, entry.name)
    }
  }

  async finish(): Promise<LayerFacts> {
    try {
      for (const path of this.#removed) await this.#writeWhiteout(path)
      for (const path of this.#opaque) await this.#markOpaque(path)
      await this.#special.finish()
      // The deepest first: making something in a folder changes its time.
      const folders = [...this.#directories].sort(([a], [b]) => b.length - a.length)
      for (const [path, mark] of folders) this.#settle(path, mark)
    } catch (e) {
      throw translated(e, '')
    }
    return {
      entries: this.#entries,
      bytes: this.#bytes,
      opaque: [...this.#opaque],
      skippedDevices: this.#skippedDevices,
      skippedAttributes: this.#skippedAttributes
    }
  }

  abandon(): Promise<void> {
    return this.#special.abandon()
  }

  async #put(path: string, entry: TarEntry, reader: TarReader): Promise<void> {
    if (path === '') return this.#putRoot(entry)
    const slash = path.lastIndexOf('/')
    const parent = slash < 0 ? '' : path.slice(0, slash)
    const name = path.slice(slash + 1)
    this.#makeParents(parent, entry.name)
    if (this.#whiteouts && name.startsWith(whiteoutPrefix)) return this.#noteWhiteout(parent, name, entry.name)
    if (entry.kind === 'device') {
      this.#skippedDevices += 1
      return
    }
    if (entry.kind === 'directory') return this.#putDirectory(path, entry)
    if (this.#pending.has(path) || this.#directories.has(path)) throw refused(entry.name, 'it is in the archive twice')
    const [kind, is] = await this.#putLeaf(path, entry, reader)
    this.#entries += 1
    this.#note(path, entry, kind, is)
  }

  /** What came to be there: its kind, and the digest of its bytes or where it leads. */
  async #putLeaf(path: string, entry: TarEntry, reader: TarReader): Promise<readonly [ContentRow['kind'], string]> {
    switch (entry.kind) {
      case 'file':
        await this.#putFile(path, entry, reader)
        return ['file', this.#hash.digest('hex')]
      case 'hardlink':
        return ['hardlink', await this.#putHardlink(path, entry)]
      case 'symlink':
        if (entry.linkName === '' || entry.linkName.includes('\0')) throw refused(entry.name, 'it is a link to nothing')
        fs.symlinkSync(bytes(entry.linkName), this.#at(path))
        fs.lchownSync(this.#at(path), entry.uid, entry.gid)
        fs.lutimesSync(this.#at(path), timeOf(entry), timeOf(entry))
        return ['symlink', entry.linkName]
      case 'fifo':
        this.#pending.add(path)
        await this.#special.add({ ...nodeOf(path, '6', entry, new Map()), size: 0 }, nothing())
        return ['fifo', '']
      case 'directory':
      case 'device':
        throw new Error('invariant broken: not a leaf')
    }
  }

  async #putFile(path: string, entry: TarEntry, reader: TarReader): Promise<void> {
    this.#hash = createHash('sha256')
    const attributes = this.#keptAttributes(entry)
    if (attributes.size > 0) {
      this.#pending.add(path)
      return this.#special.add(nodeOf(path, '0', entry, attributes), this.#counted(reader))
    }
    const file = fs.openSync(
      this.#at(path),
      fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW,
      0o600
    )
    try {
      for await (const chunk of this.#counted(reader)) writeAll(file, chunk)
      fs.fchownSync(file, entry.uid, entry.gid)
      fs.fchmodSync(file, entry.mode)
      fs.futimesSync(file, timeOf(entry), timeOf(entry))
    } finally {
      fs.closeSync(file)
    }
  }

  async #putHardlink(path: string, entry: TarEntry): Promise<string> {
    const target = this.#cleanPath(entry.linkName, entry.name)
    if (target === path) throw refused(entry.name, 'it is a link to itself')
    if (this.#pending.has(target)) {
      this.#pending.add(path)
      await this.#special.add({ ...nodeOf(path, '1', entry, new Map()), linkName: target, size: 0 }, nothing())
      return target
    }
    this.#walk(parentOf(target), entry.name, () => {
      throw refused(entry.name, 'it is a hard link to a file that the archive does not have before it')
    })
    const stats = fs.lstatSync(this.#at(target), { throwIfNoEntry: false })
    if (stats === undefined || stats.isDirectory()) {
      throw refused(entry.name, 'it is a hard link to a file that the archive does not have before it')
    }
    fs.linkSync(this.#at(target), this.#at(path))
    return target
  }

  #putDirectory(path: string, entry: TarEntry): void {
    if (this.#pending.has(path)) throw refused(entry.name, 'it is in the archive twice')
    if (!this.#directories.has(path)) {
      fs.mkdirSync(this.#at(path), 0o700)
      this.#entries += 1
    }
    this.#keptAttributes(entry)
    this.#directories.set(path, { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtimeSeconds: entry.mtimeSeconds })
  }

  #putRoot(entry: TarEntry): void {
    if (entry.kind !== 'directory') throw refused(entry.name, 'the root of an image is a directory')
    this.#directories.set('', { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtimeSeconds: entry.mtimeSeconds })
  }

  #noteWhiteout(parent: string, name: string, entryName: string): void {
    if (name === opaqueMark) {
      this.#opaque.add(parent)
      return
    }
    const hidden = name.slice(whiteoutPrefix.length)
    if (hidden === '' || hidden === '.' || hidden === '..') throw refused(entryName, 'it removes nothing that has a name')
    this.#removed.add(parent === '' ? hidden : `${parent}/${hidden}`)
  }

  /** A layer may both remove a name and bring its own: its own file is enough, its own directory hides what was there. */
  async #writeWhiteout(path: string): Promise<void> {
    if (this.#directories.has(path)) {
      this.#opaque.add(path)
      return
    }
    if (this.#pending.has(path) || fs.lstatSync(this.#at(path), { throwIfNoEntry: false }) !== undefined) return
    this.#entries += 1
    const mark = { mode: 0, uid: 0, gid: 0, mtimeSeconds: 0 }
    await this.#special.add({ name: path, flag: '3', ...mark, size: 0, attributes: new Map() }, nothing())
    this.#note(path, mark, 'whiteout', '')
  }

  async #markOpaque(path: string): Promise<void> {
    const mark = this.#directories.get(path) ?? plainDirectory
    const attributes = new Map([['trusted.overlay.opaque', Buffer.from('y')]])
    if (path === '') return
    await this.#special.add({ name: path, flag: '5', ...mark, size: 0, attributes }, nothing())
  }

  #makeParents(path: string, entryName: string): void {
    this.#walk(path, entryName, (at) => {
      fs.mkdirSync(this.#at(at), 0o755)
      this.#entries += 1
      this.#countEntry()
    })
  }

  /** Goes down to a folder; anything on the way that is not a real directory is refused, what is missing is `absent`'s matter. */
  #walk(path: string, entryName: string, absent: (path: string) => void): void {
    if (this.#directories.has(path)) return
    this.#walk(parentOf(path), entryName, absent)
    if (this.#pending.has(path)) throw refused(entryName, `${shownName(path)} is no directory`)
    const stats = fs.lstatSync(this.#at(path), { throwIfNoEntry: false })
    if (stats?.isSymbolicLink() === true)
      throw refused(entryName, `it lies behind the link ${shownName(path)}, which the archive planted`)
    if (stats !== undefined) throw refused(entryName, `${shownName(path)} is no directory`)
    absent(path)
    this.#directories.set(path, plainDirectory)
  }

  #settle(path: string, mark: DirectoryMark): void {
    const at = this.#at(path)
    fs.lchownSync(at, mark.uid, mark.gid)
    fs.chmodSync(at, mark.mode)
    fs.lutimesSync(at, timeOf(mark), timeOf(mark))
    this.#note(path, mark, 'directory', '')
  }

  #note(
    path: string,
    { mode, uid, gid, size = 0 }: Omit<DirectoryMark, 'mtimeSeconds'> & { readonly size?: number },
    kind: ContentRow['kind'],
    is: string
  ): void {
    this.#contents.add({ path, kind, mode: mode & 0o7777, uid, gid, size, is })
  }

  async *#counted(reader: TarReader): AsyncGenerator<Buffer> {
    for await (const chunk of reader.content()) {
      this.#bytes += chunk.length
      this.#spent.bytes += chunk.length
      if (this.#spent.bytes > this.#limits.unpackedBytes) {
        throw new Fault(
          'exhausted',
          `the image is larger than ${this.#limits.unpackedBytes} bytes when unpacked, which is the limit of this node`
        )
      }
      this.#uncheckedBytes += chunk.length
      if (this.#uncheckedBytes >= statfsEveryBytes) this.#checkSpace()
      this.#hash.update(chunk)
      yield chunk
    }
  }

  #countEntry(): void {
    this.#spent.entries += 1
    if (this.#spent.entries > this.#limits.entries)
      throw new Fault('exhausted', `the image has more than ${this.#limits.entries} files`)
  }

  #checkSpace(): void {
    this.#uncheckedBytes = 0
    const disk = fs.statfsSync(this.#root)
    if (disk.bavail * disk.bsize < this.#limits.reserveBytes) {
      throw new Fault('exhausted', `no space left to unpack the image: less than ${this.#limits.reserveBytes} bytes are free`)
    }
  }

  /** File capabilities and a program's own notes; never those by which overlayfs would look elsewhere. */
  #keptAttributes(entry: TarEntry): ReadonlyMap<string, Buffer> {
    const kept = [...entry.attributes].filter(
      ([key]) =>
        entry.kind === 'file' && (key === 'security.capability' || (key.startsWith('user.') && !key.startsWith('user.overlay.')))
    )
    this.#skippedAttributes += entry.attributes.size - kept.length
    return new Map(kept)
  }

  /** Layers begin at the image's root, so that `/etc` in them is `etc`: umoci writes the root itself as `/`. */
  #cleanPath(path: string, entryName: string): string {
    return cleanPath(this.#whiteouts ? path.replace(/^\/+/, '') : path, entryName)
  }

  #at(path: string): Buffer {
    return bytes(path === '' ? this.#rootBytes : `${this.#rootBytes}/${path}`)
  }
}

const bytes = (name: string): Buffer => Buffer.from(name, 'latin1')

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')))

const timeOf = (mark: { readonly mtimeSeconds: number }): number => Math.min(Math.max(mark.mtimeSeconds, 0), latestSeconds)

function nodeOf(name: string, flag: '0' | '1' | '6', entry: TarEntry, attributes: ReadonlyMap<string, Buffer>) {
  const { mode, uid, gid, size } = entry
  return { name, flag, mode, uid, gid, size, mtimeSeconds: timeOf(entry), attributes }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function writeAll(file: number, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) at += fs.writeSync(file, chunk, at)
}

/** The entry's path below the root, without `.` and empty parts. */
function cleanPath(path: string, entryName: string): string {
  if (path.includes('\0')) throw refused(entryName, 'a name must not hold a NUL')
  if (path.startsWith('/'))
    throw refused(entryName, `${shownName(path)} is an absolute path, where only one below the root can be meant`)
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw refused(entryName, `${shownName(path)} leads upwards with ".."`)
  return parts.join('/')
}

const refused = (entryName: string, why: string): Fault =>
  new Fault('invalid', `the entry ${shownName(entryName)} of the archive is refused: ${why}`, { entry: shownName(entryName) })

function translated(e: unknown, entryName: string): unknown {
  switch (errnoOf(e)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new Fault('exhausted', 'no space left on the disk to unpack the image', {}, e)
    case 'EEXIST':
      return refused(entryName, 'it is in the archive twice')
    case 'ENAMETOOLONG':
      return refused(entryName, 'its name is too long for a file system')
    case 'EMLINK':
      return refused(entryName, 'it has too many hard links')
    case 'EPERM':
      return new Fault('denied', 'images can be unpacked only by root: owners and devices must be set', {}, e)
    default:
      return e
  }
}
