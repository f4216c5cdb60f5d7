import { isFault } from '../../base/fault.ts'
import { encodeRecord, findRecordHead, readRecord, recordHeadBytes, storedCrc } from '../../base/record-chain.ts'
import { decodeMessage } from '../../proto/codec.ts'
import type { LogRecord } from '../../proto/gen/messages.ts'

/** The least that a disk writes as a whole: after a loss of power each of them is either old or new. */
const sectorBytes = 512

interface Place {
  /** What cannot be read begins here, in the last segment. */
  readonly at: number
  /** Of the last record before it. */
  readonly crc: number
  /** Of the last entry before it. */
  readonly lastIndex: number
}

/**
 * What stands at a bad place is either the rest of a write that no fdatasync has finished, which may go, or damage to what was
 * promised, which may not. Gives the offset of the record that shows damage, -1 where nothing does.
 *
 * Sectors reach the disk in any order, so sound records after the hole prove nothing as long as they belong to the same write: each tells how
 * much of the segment was durable when it was written. Such a hole is made of whole sectors of zeros, as the segment was filled with
 * before it was used; a record that is bad in another way was changed after it was written.
 */
export function damageAt(bytes: Buffer, place: Place): number {
  const { at } = place
  const seeds = seedsAfter(bytes, place)
  const isHole = hasLostSector(bytes, at)
  for (let head = findRecordHead(bytes, at + 1); head >= 0; head = findRecordHead(bytes, head + 1)) {
    const record = recordAt(bytes, head)
    if (record !== undefined && vouchesFor(record, place, head)) return head
    if (!isSound(bytes, head, seeds)) continue
    const isOfSameWrite = record !== undefined && record.syncedBytes > 0 && record.syncedBytes <= at
    if (!isOfSameWrite || !isHole) return head
  }
  return -1
}

/** Even alone after a hole, where its checksum cannot be looked at: what was acknowledged when it was written is gone. */
const vouchesFor = ({ acknowledgedIndex, syncedBytes }: LogRecord, { at, lastIndex }: Place, head: number): boolean =>
  acknowledgedIndex > lastIndex || (syncedBytes > at && syncedBytes <= head)

/**
 * The chain's seed is lost at the bad place, so a record counts as sound when it continues what the bad record carries, or
 * carries what its own successor continues.
 */
function isSound(bytes: Buffer, head: number, seeds: readonly number[]): boolean {
  if (seeds.some((seed) => readRecord(bytes, head, seed).kind === 'record')) return true
  const end = endOf(bytes, head)
  return end !== undefined && readRecord(bytes, end, storedCrc(bytes, head)).kind === 'record'
}

function seedsAfter(bytes: Buffer, { at, crc }: Place): number[] {
  const end = endOf(bytes, at)
  const seeds = at + recordHeadBytes <= bytes.length ? [storedCrc(bytes, at)] : []
  if (end !== undefined) seeds.push(encodeRecord(bytes.subarray(at + recordHeadBytes, end), crc).crc)
  return seeds
}

function hasLostSector(bytes: Buffer, at: number): boolean {
  const end = Math.min(bytes.length, Math.max(at + recordHeadBytes, endOf(bytes, at) ?? 0))
  for (let from = at; from < end; ) {
    const next = Math.min(bytes.length, (Math.floor(from / sectorBytes) + 1) * sectorBytes)
    if (bytes.subarray(from, next).every((byte) => byte === 0)) return true
    from = next
  }
  return false
}

function endOf(bytes: Buffer, at: number): number | undefined {
  if (at + recordHeadBytes > bytes.length) return undefined
  const end = at + recordHeadBytes + bytes.readUInt32LE(at + 4)
  return end <= bytes.length ? end : undefined
}

function recordAt(bytes: Buffer, head: number): LogRecord | undefined {
  const end = endOf(bytes, head)
  if (end === undefined) return undefined
  try {
    return decodeMessage('LogRecord', bytes.subarray(head + recordHeadBytes, end))
  } catch (e) {
    if (isFault(e)) return undefined
    throw e
  }
}
