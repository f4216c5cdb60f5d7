import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { Fault } from '../../base/fault.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'

/**
 * A snapshot is one immutable file named after the index it stands for:
 *
 *   blocks of 64 KiB (the last one shorter): u32 crc | u32 length | payload
 *   a last block of length 0 whose 40 bytes are: u64 length of all payloads | sha256 of all payloads
 *
 * The payloads together are messages, each after its u32 length. A crc is seeded with the one of the block before.
 */
const blockBytes = 64 * 1024
const blockHeadBytes = 8
const trailerBytes = 40
const suffix = '.snapshot'
const draftName = 'snapshot.draft'
const arrivedName = 'arrived.draft'
const digits = 16

export const snapshotName = (index: number): string => `${String(index).padStart(digits, '0')}${suffix}`

function snapshotIndex(name: string): number | undefined {
  const text = name.endsWith(suffix) ? name.slice(0, -suffix.length) : ''
  return text.length === digits && /^\d+$/.test(text) ? Number(text) : undefined
}

/** Indexes of the snapshots in the folder, oldest first. */
export async function listSnapshots(disk: Disk, directory: string): Promise<number[]> {
  return (await disk.list(directory)).map(snapshotIndex).filter((index) => index !== undefined)
}

/** Takes the messages one by one, so that an event loop slice encodes no more than one. A crash leaves the old ones or this one. */
export async function writeSnapshot(disk: Disk, directory: string, index: number, messages: Iterable<Uint8Array>): Promise<void> {
  const draft = join(directory, draftName)
  const file = await disk.create(draft)
  try {
    const writer = new BlockWriter(file)
    for (const message of messages) await writer.put(message)
    await writer.finish()
    await file.sync()
  } catch (e) {
    await file.close()
    // The failure matters, not the half file: the next snapshot writes over it.
    await disk.remove(draft).catch(() => undefined)
    throw e
  }
  await file.close()
  await disk.rename(draft, join(directory, snapshotName(index)))
  await disk.syncDirectory(directory)
}

/** Keeps the bytes of a snapshot file that another master sent. A crash leaves the old ones or this one. */
export async function installSnapshot(disk: Disk, directory: string, index: number, bytes: Uint8Array): Promise<void> {
  const draft = join(directory, arrivedName)
  const file = await disk.create(draft)
  try {
    await writeAll(file, bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(draft, join(directory, snapshotName(index)))
  await disk.syncDirectory(directory)
}

/** The bytes of the file, to be sent to another master as they are. */
export const snapshotBytes = (disk: Disk, directory: string, index: number): Promise<Buffer> =>
  disk.readAll(join(directory, snapshotName(index)))

/** Gives each message of a snapshot to `take`. Throws `Fault('corrupt')` that names the file and the offset. */
export async function readSnapshot(
  disk: Disk,
  directory: string,
  index: number,
  take: (message: Uint8Array) => void
): Promise<void> {
  const path = join(directory, snapshotName(index))
  for (const message of messagesIn(path, await disk.readAll(path))) take(message)
}

/**
 * The messages of a snapshot file that is at hand, one by one, so that whoever takes them may pause in between. Only the last one
 * shows that all were sound: what was made of them is worth nothing where this throws `Fault('corrupt')`. `path` is for the fault.
 */
export function* messagesIn(path: string, bytes: Buffer): Generator<Uint8Array> {
  const parts: Buffer[] = []
  let held = 0
  let at = 0
  for (const payload of blocksIn(path, bytes)) {
    parts.push(payload)
    held += payload.length
    if (held < wantedBytes(parts)) continue
    const all = Buffer.concat(parts.splice(0))
    let taken = 0
    for (let end = messageEnd(all, taken); end <= all.length; end = messageEnd(all, taken)) {
      yield all.subarray(taken + 4, end)
      taken = end
    }
    parts.push(all.subarray(taken))
    held = all.length - taken
    at += taken
  }
  if (held > 0) throw corrupt(path, at, 'a message runs past the end')
}

/** Removes all but the `keep` newest. */
export async function pruneSnapshots(disk: Disk, directory: string, keep: number): Promise<void> {
  const indexes = await listSnapshots(disk, directory)
  const old = indexes.slice(0, Math.max(0, indexes.length - keep))
  for (const index of old) await disk.remove(join(directory, snapshotName(index)))
  if (old.length > 0) await disk.syncDirectory(directory)
}

class BlockWriter {
  readonly #file: DiskFile
  readonly #hash = createHash('sha256')
  readonly #block = Buffer.alloc(blockBytes)
  #used = blockHeadBytes
  #position = 0
  #total = 0
  #crc = 0

  constructor(file: DiskFile) {
    this.#file = file
  }

  async put(message: Uint8Array): Promise<void> {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(message.length)
    await this.#add(length)
    await this.#add(message)
  }

  async finish(): Promise<void> {
    if (this.#used > blockHeadBytes) await this.#flush()
    const trailer = Buffer.alloc(trailerBytes)
    trailer.writeBigUInt64LE(BigInt(this.#total), 0)
    this.#hash.digest().copy(trailer, 8)
    const head = Buffer.alloc(blockHeadBytes)
    head.writeUInt32LE(blockCrc(0, trailer, this.#crc), 0)
    await writeAll(this.#file, Buffer.concat([head, trailer]), this.#position)
  }

  async #add(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    this.#total += bytes.length
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + blockBytes - this.#used)
      this.#block.set(part, this.#used)
      this.#used += part.length
      at += part.length
      if (this.#used === blockBytes) await this.#flush()
    }
  }

  async #flush(): Promise<void> {
    const length = this.#used - blockHeadBytes
    this.#crc = blockCrc(length, this.#block.subarray(blockHeadBytes, this.#used), this.#crc)
    this.#block.writeUInt32LE(this.#crc, 0)
    this.#block.writeUInt32LE(length, 4)
    await writeAll(this.#file, this.#block.subarray(0, this.#used), this.#position)
    this.#position += this.#used
    this.#used = blockHeadBytes
  }
}

function blockCrc(length: number, payload: Uint8Array, previous: number): number {
  const head = Buffer.alloc(4)
  head.writeUInt32LE(length)
  return crc32(payload, crc32(head, previous))
}

function* blocksIn(path: string, bytes: Buffer): Generator<Buffer> {
  const hash = createHash('sha256')
  let total = 0
  let crc = 0
  let at = 0
  for (;;) {
    if (at + blockHeadBytes > bytes.length) throw corrupt(path, at, 'it ends before its last block')
    const length = bytes.readUInt32LE(at + 4)
    const end = at + blockHeadBytes + (length === 0 ? trailerBytes : length)
    if (length > blockBytes || end > bytes.length) throw corrupt(path, at, 'a block runs past the end')
    const payload = bytes.subarray(at + blockHeadBytes, end)
    crc = blockCrc(length, payload, crc)
    if (crc !== bytes.readUInt32LE(at)) throw corrupt(path, at, 'the checksum of a block is wrong')
    if (length === 0) {
      checkTrailer(path, at, payload, { total, hash: hash.digest(), isLast: end === bytes.length })
      return
    }
    hash.update(payload)
    total += length
    yield payload
    at = end
  }
}

function checkTrailer(
  path: string,
  at: number,
  trailer: Buffer,
  seen: { readonly total: number; readonly hash: Buffer; readonly isLast: boolean }
): void {
  const sound = seen.isLast && trailer.readBigUInt64LE(0) === BigInt(seen.total) && seen.hash.equals(trailer.subarray(8))
  if (!sound) throw corrupt(path, at, 'its blocks are sound but not the ones that were written')
}

/** Where the message at `at` ends; beyond the end while its length is not there yet. */
const messageEnd = (bytes: Buffer, at: number): number =>
  at + 4 <= bytes.length ? at + 4 + bytes.readUInt32LE(at) : Number.POSITIVE_INFINITY

/** What the first message takes, as far as that is known: a large one is put together once. */
const wantedBytes = ([first]: readonly Buffer[]): number =>
  first === undefined || first.length < 4 ? 4 : 4 + first.readUInt32LE(0)

const corrupt = (path: string, offset: number, why: string): Fault =>
  new Fault('corrupt', `${path} is damaged at byte ${offset}: ${why}. Restore it from a copy`, { path, offset })
