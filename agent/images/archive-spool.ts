import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { ImageLimits } from './limits.ts'
import type { Descriptor } from './manifest.ts'
import { shownName } from './tar-header.ts'
import type { TarEntry, TarReader } from './tar-reader.ts'

const maxMembers = 10_000
const maxLinks = 8

interface Member {
  readonly file: string
  readonly bytes: number
  readonly sha256: string
}

/**
 * The members of an archive of blobs, put down under numbers of our own: in such an archive the manifest may come last. Names from
 * the archive never become names on the disk.
 */
export class ArchiveSpool {
  readonly #directory: string
  readonly #limits: ImageLimits
  readonly #members = new Map<string, Member>()
  readonly #links = new Map<string, string>()
  readonly #byDigest = new Map<string, Member>()
  #count = 0

  constructor(directory: string, limits: ImageLimits) {
    this.#directory = directory
    this.#limits = limits
  }

  async add(entry: TarEntry, reader: TarReader): Promise<void> {
    this.#count += 1
    if (this.#count > maxMembers) throw new Fault('invalid', `the archive has more than ${maxMembers} members`)
    const name = memberName(entry.name)
    if (name === undefined)
      throw new Fault('invalid', `the entry ${shownName(entry.name)} of the archive is refused: it leads out of the archive`)
    switch (entry.kind) {
      case 'file':
        return this.#put(name, entry, reader)
      case 'symlink':
        this.#links.set(name, memberName(`${name.slice(0, name.lastIndexOf('/') + 1)}${entry.linkName}`) ?? '')
        return
      case 'hardlink':
        this.#links.set(name, memberName(entry.linkName) ?? '')
        return
      case 'directory':
        return
      case 'fifo':
      case 'device':
        throw new Fault(
          'invalid',
          `the entry ${shownName(entry.name)} of the archive is refused: an archive of blobs holds only files`
        )
    }
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /** A JSON document by its name in the archive. */
  document(name: string): Buffer {
    const member = this.#find(name)
    if (member === undefined) throw new Fault('corrupt', `the archive is damaged: ${shownName(name)} is missing`)
    return this.#read(member, name)
  }

  /** A JSON document by its digest, which the bytes have been checked against. */
  documentOf(descriptor: Descriptor): Buffer {
    return this.#read(this.#checked(descriptor), descriptor.digest)
  }

  chunksOf(descriptor: Descriptor): fs.ReadStream {
    return fs.createReadStream(this.#checked(descriptor).file, { highWaterMark: 256 * 1024 })
  }

  /** The bytes of a member, and its own digest. */
  member(name: string): { readonly sha256: string; readonly bytes: number; chunks(): fs.ReadStream } {
    const member = this.#find(name)
    if (member === undefined) throw new Fault('corrupt', `the archive is damaged: ${shownName(name)} is missing`)
    return {
      sha256: member.sha256,
      bytes: member.bytes,
      chunks: () => fs.createReadStream(member.file, { highWaterMark: 256 * 1024 })
    }
  }

  async #put(name: string, entry: TarEntry, reader: TarReader): Promise<void> {
    if (this.#members.has(name))
      throw new Fault('invalid', `the entry ${shownName(entry.name)} of the archive is refused: it is in the archive twice`)
    const path = join(this.#directory, `${this.#members.size}`)
    const hash = createHash('sha256')
    try {
      this.#checkSpace(entry.size)
      const file = fs.openSync(path, 'wx', 0o600)
      try {
        for await (const chunk of reader.content()) {
          hash.update(chunk)
          for (let at = 0; at < chunk.length; ) at += fs.writeSync(file, chunk, at)
        }
      } finally {
        fs.closeSync(file)
      }
    } catch (e) {
      if (errnoOf(e) === 'ENOSPC' || errnoOf(e) === 'EDQUOT')
        throw new Fault('exhausted', 'no space left on the disk to take the archive in', {}, e)
      throw e
    }
    const member = { file: path, bytes: entry.size, sha256: hash.digest('hex') }
    this.#members.set(name, member)
    this.#byDigest.set(member.sha256, member)
  }

  #checkSpace(bytes: number): void {
    const disk = fs.statfsSync(this.#directory)
    if (disk.bavail * disk.bsize - bytes < this.#limits.reserveBytes) {
      throw new Fault(
        'exhausted',
        `no space left to take the archive in: ${bytes} bytes more would leave less than ${this.#limits.reserveBytes}`
      )
    }
  }

  #find(name: string): Member | undefined {
    let at: string | undefined = memberName(name)
    for (let links = 0; at !== undefined && links <= maxLinks; links += 1) {
      const member = this.#members.get(at)
      if (member !== undefined) return member
      at = this.#links.get(at)
    }
    return undefined
  }

  #read(member: Member, name: string): Buffer {
    if (member.bytes > this.#limits.documentBytes)
      throw new Fault('invalid', `${shownName(name)} of the archive is larger than ${this.#limits.documentBytes} bytes`)
    return fs.readFileSync(member.file)
  }

  #checked({ digest, size }: Descriptor): Member {
    const hex = digest.slice('sha256:'.length)
    const named = this.#members.get(`blobs/sha256/${hex}`)
    if (named !== undefined && named.sha256 !== hex)
      throw new Fault('corrupt', `the archive is damaged: the blob ${digest} has the digest sha256:${named.sha256}`)
    const member = this.#byDigest.get(hex)
    if (member === undefined) throw new Fault('corrupt', `the archive is damaged: the blob ${digest} is missing`)
    if (member.bytes !== size)
      throw new Fault('corrupt', `the archive is damaged: the blob ${digest} has ${member.bytes} bytes instead of ${size}`)
    return member
  }
}

/** Folds `.` and `..`; undefined for a name that leads out. */
function memberName(path: string): string | undefined {
  if (path.startsWith('/') || path.includes('\0')) return undefined
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return undefined
  }
  return parts.join('/')
}

const firstParts = new Set(['blobs', 'oci-layout', 'index.json', 'manifest.json', 'repositories'])

/** Whether an archive that begins with this entry holds blobs rather than a root file system; undefined: ask the next. */
export function holdsBlobs(entryName: string): boolean | undefined {
  const first = entryName.split('/').find((part) => part !== '' && part !== '.')
  if (first === undefined) return undefined
  return firstParts.has(first) || /^[0-9a-f]{64}(\.json|\.tar)?$/.test(first)
}
