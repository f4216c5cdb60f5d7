import { crc32 } from 'node:zlib'

/**
 * CRC-chained records, the framing shared by the master's log and the agent's ledger.
 *
 *   u32 magic | u32 length of the body | u32 crc | body
 *
 * All numbers are little-endian. `crc` is CRC-32 over the length and the body, seeded with the CRC of the record before it,
 * so a lost, repeated or misplaced record breaks the chain even where each record alone is sound.
 */
export const recordHeadBytes = 12
export const maxRecordBytes = 16 * 1024 * 1024
const recordMagic = 0x31524b48 // "HKR1"

export interface ChainedRecord {
  readonly body: Uint8Array
  /** Offset of the record's head in the buffer that was read. */
  readonly offset: number
  /** Offset just after the record. */
  readonly end: number
  readonly crc: number
}

export type ReadRecord =
  | { readonly kind: 'record'; readonly record: ChainedRecord }
  /** The buffer is at its end, or only zeros follow (a pre-allocated tail). */
  | { readonly kind: 'end' }
  | { readonly kind: 'broken'; readonly why: string }

export function encodeRecord(body: Uint8Array, previousCrc: number): { readonly bytes: Buffer; readonly crc: number } {
  const bytes = Buffer.allocUnsafe(recordHeadBytes + body.length)
  bytes.set(body, recordHeadBytes)
  return { bytes, crc: sealRecord(bytes, 0, bytes.length, previousCrc) }
}

/** Writes the head of a record whose body is in place, up to `end`; returns its CRC. */
export function sealRecord(bytes: Buffer, offset: number, end: number, previousCrc: number): number {
  const length = end - offset - recordHeadBytes
  // The length stands where the CRC will, so that what is summed up lies in one piece.
  bytes.writeUInt32LE(length, offset + 8)
  const crc = crc32(bytes.subarray(offset + 8, end), previousCrc)
  bytes.writeUInt32LE(recordMagic, offset)
  bytes.writeUInt32LE(length, offset + 4)
  bytes.writeUInt32LE(crc, offset + 8)
  return crc
}

/** Reads the record at `offset`. Pure: it never looks beyond `bytes` and never throws on any input. */
export function readRecord(bytes: Uint8Array, offset: number, previousCrc: number): ReadRecord {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isBlank(view, offset)) return { kind: 'end' }
  if (offset + recordHeadBytes > view.length) return { kind: 'broken', why: 'half a record head' }
  if (view.readUInt32LE(offset) !== recordMagic) return { kind: 'broken', why: 'no record starts here' }
  const length = view.readUInt32LE(offset + 4)
  if (length > maxRecordBytes) return { kind: 'broken', why: `a record of ${length} bytes is over the limit` }
  const end = offset + recordHeadBytes + length
  if (end > view.length) return { kind: 'broken', why: 'the record runs past the end' }
  const body = view.subarray(offset + recordHeadBytes, end)
  const crc = chainCrc(view.subarray(offset + 4, offset + 8), body, previousCrc)
  if (crc !== view.readUInt32LE(offset + 8)) return { kind: 'broken', why: 'the checksum does not fit the chain' }
  return { kind: 'record', record: { body, offset, end, crc } }
}

/** The next offset at or after `from` where a record head could stand, for salvage; -1 where there is none. */
export function findRecordHead(bytes: Uint8Array, from: number): number {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = Buffer.alloc(4)
  magic.writeUInt32LE(recordMagic)
  return view.indexOf(magic, from)
}

/** For salvage: the CRC that a record at `offset` carries, whatever stood before it. */
export function storedCrc(bytes: Uint8Array, offset: number): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUInt32LE(offset + 8)
}

const chainCrc = (length: Uint8Array, body: Uint8Array, previous: number): number => crc32(body, crc32(length, previous))

function isBlank(view: Buffer, offset: number): boolean {
  const end = Math.min(view.length, offset + recordHeadBytes)
  for (let i = offset; i < end; i += 1) if (view[i] !== 0) return false
  return true
}
