import { Fault } from '../../base/fault.ts'
import type { ByteSource } from './byte-source.ts'
import { blockBytes, decodePax, decodeTarHeader, shownName, type TarHeader, type TarKind } from './tar-header.ts'

export interface TarEntry {
  /** As in the archive, one byte to a character. */
  readonly name: string
  readonly kind: TarKind
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  readonly size: number
  readonly linkName: string
  /** Extended attributes by name. */
  readonly attributes: ReadonlyMap<string, Buffer>
}

export interface TarLimits {
  readonly pathBytes: number
  /** Of one extended header. */
  readonly documentBytes: number
}

const maxChunkBytes = 256 * 1024
const maxExtensions = 8
const attributePrefix = 'SCHILY.xattr.'

const kinds: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'fifo'
}

interface Extensions {
  readonly pax: Map<string, Buffer>
  longName: string | undefined
  longLinkName: string | undefined
  count: number
}

/**
 * Reads a tar archive entry by entry. Our own because the common reader takes names and attribute values for UTF-8 (file
 * capabilities are not) and cannot tell an archive that was cut off between two entries.
 */
export class TarReader {
  readonly #source: ByteSource
  readonly #limits: TarLimits
  readonly #endMark: 'needed' | 'optional'
  #global = new Map<string, Buffer>()
  #left = 0
  #padding = 0

  /** `optional` only where a digest tells what was cut off: umoci, for one, writes layers without. */
  constructor(source: ByteSource, limits: TarLimits, endMark: 'needed' | 'optional') {
    this.#source = source
    this.#limits = limits
    this.#endMark = endMark
  }

  /** The next entry, whatever was left of the one before; undefined at the archive's end mark. */
  async next(): Promise<TarEntry | undefined> {
    await this.#skip()
    const extensions: Extensions = { pax: new Map(this.#global), longName: undefined, longLinkName: undefined, count: 0 }
    for (;;) {
      const block = await this.#source.take(blockBytes)
      if (block.length === 0 && extensions.count === 0 && this.#endMark === 'optional') return undefined
      if (block.length < blockBytes) throw cutOff()
      const header = decodeTarHeader(block)
      if (header === undefined) return undefined
      if (!(await this.#extend(header, extensions))) return this.#entry(header, extensions)
      extensions.count += 1
      if (extensions.count > maxExtensions)
        throw new Fault('corrupt', 'the archive is damaged: too many extended headers in a row')
    }
  }

  /** The next bytes of the current entry; undefined when all are read. */
  async read(): Promise<Buffer | undefined> {
    if (this.#left === 0) return undefined
    const chunk = await this.#source.some(Math.min(this.#left, maxChunkBytes))
    if (chunk.length === 0) throw cutOff()
    this.#left -= chunk.length
    return chunk
  }

  async *content(): AsyncGenerator<Buffer> {
    for (let chunk = await this.read(); chunk !== undefined; chunk = await this.read()) yield chunk
  }

  async #skip(): Promise<void> {
    while ((await this.read()) !== undefined);
    const padding = await this.#source.take(this.#padding)
    if (padding.length < this.#padding && this.#endMark === 'needed') throw cutOff()
    this.#padding = 0
  }

  /** Takes in a header that only describes the next one. */
  async #extend(header: TarHeader, extensions: Extensions): Promise<boolean> {
    if (!'xgLKV'.includes(header.flag)) return false
    if (header.size > this.#limits.documentBytes) {
      throw new Fault(
        'invalid',
        `the archive has an extended header of ${header.size} bytes, more than ${this.#limits.documentBytes}`
      )
    }
    const body = Buffer.from(await this.#source.take(header.size))
    this.#padding = paddingOf(header.size)
    if (body.length < header.size) throw cutOff()
    await this.#skip()
    if (header.flag === 'x') for (const [key, value] of decodePax(body)) extensions.pax.set(key, value)
    if (header.flag === 'g') {
      this.#global = new Map([...this.#global, ...decodePax(body)])
      for (const [key, value] of this.#global) if (!extensions.pax.has(key)) extensions.pax.set(key, value)
    }
    if (header.flag === 'L') extensions.longName = untilNul(body)
    if (header.flag === 'K') extensions.longLinkName = untilNul(body)
    return true
  }

  #entry(header: TarHeader, { pax, longName, longLinkName }: Extensions): TarEntry {
    const name = pax.get('path')?.toString('latin1') ?? longName ?? header.name
    const linkName = pax.get('linkpath')?.toString('latin1') ?? longLinkName ?? header.linkName
    const flagged = kinds[header.flag]
    if (header.flag === 'S' || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.'))) {
      throw new Fault(
        'unsupported',
        `the archive holds ${shownName(name)} as a sparse file: make the archive again without --sparse`
      )
    }
    if (flagged === undefined) {
      throw new Fault(
        'unsupported',
        `the entry ${shownName(name)} of the archive is of the unknown type ${JSON.stringify(header.flag)}`
      )
    }
    if (name.length > this.#limits.pathBytes || linkName.length > this.#limits.pathBytes) {
      throw new Fault('invalid', `the name ${shownName(name)}… in the archive is longer than ${this.#limits.pathBytes} bytes`)
    }
    const size = flagged === 'hardlink' ? 0 : paxNumber(pax, 'size', header.size)
    this.#left = size
    this.#padding = paddingOf(size)
    return {
      name,
      kind: flagged === 'file' && name.endsWith('/') ? 'directory' : flagged,
      mode: header.mode,
      uid: paxNumber(pax, 'uid', header.uid),
      gid: paxNumber(pax, 'gid', header.gid),
      mtimeSeconds: paxTime(pax, header.mtimeSeconds),
      size,
      linkName,
      attributes: new Map(
        [...pax]
          .filter(([key]) => key.startsWith(attributePrefix))
          .map(([key, value]) => [key.slice(attributePrefix.length), value])
      )
    }
  }
}

const cutOff = (): Fault => new Fault('corrupt', 'the archive is damaged: it ends in the middle, as if it had been cut off')

const paddingOf = (size: number): number => (blockBytes - (size % blockBytes)) % blockBytes

function untilNul(body: Buffer): string {
  const end = body.indexOf(0)
  return body.subarray(0, end < 0 ? body.length : end).toString('latin1')
}

function paxNumber(pax: ReadonlyMap<string, Buffer>, key: string, otherwise: number): number {
  const value = pax.get(key)?.toString('latin1')
  if (value === undefined || value === '') return otherwise
  if (!/^[0-9]{1,16}$/.test(value))
    throw new Fault('corrupt', `the archive is damaged: an extended tar header has the ${key} ${shownName(value)}`)
  return Number(value)
}

/** Seconds with a fraction, maybe before 1970; anything else is taken from the plain header. */
function paxTime(pax: ReadonlyMap<string, Buffer>, otherwise: number): number {
  const value = pax.get('mtime')?.toString('latin1') ?? ''
  return /^-?[0-9]{1,12}(\.[0-9]*)?$/.test(value) ? Number(value) : otherwise
}
