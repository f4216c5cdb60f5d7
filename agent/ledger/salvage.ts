import { isFault } from '../../base/fault.ts'
import {
  type ChainedRecord,
  encodeRecord,
  findRecordHead,
  readRecord,
  recordHeadBytes,
  storedCrc
} from '../../base/record-chain.ts'
import { decodeKeeping } from '../../proto/codec.ts'
import type { LedgerRecord } from '../../proto/gen/messages.ts'

export type LedgerItem =
  | { readonly kind: 'record'; readonly record: LedgerRecord; readonly offset: number; readonly bytes: number }
  /** A stretch that proves nothing; sound records stand after it, or it is no mere half of a last record. */
  | { readonly kind: 'gap'; readonly offset: number; readonly bytes: number; readonly why: string }

export interface LedgerScan {
  readonly items: readonly LedgerItem[]
  /** Where the next record belongs: after the last sound one. */
  readonly end: number
  /** CRC of the last sound record: the seed of the next one. */
  readonly crc: number
  /** Bytes of a last record that was never written whole. */
  readonly tornBytes: number
}

/**
 * Reads a whole ledger file. Every record it returns is proven by the chain: it fits the CRC of the record before it, or, after
 * a damage, the CRC that the record before it still carries. A record that nothing proves belongs to the gap before it.
 */
export function scanLedger(bytes: Uint8Array, seed: number): LedgerScan {
  const items: LedgerItem[] = []
  let end = 0
  let crc = seed
  let sequence = 0
  const take = (proven: ChainedRecord): void => {
    const item = decoded(proven, sequence)
    if (item.kind === 'record') sequence = item.record.sequence
    items.push(item)
    end = proven.end
    crc = proven.crc
  }
  while (end < bytes.length) {
    const read = readRecord(bytes, end, crc)
    if (read.kind === 'record') {
      take(read.record)
      continue
    }
    const repaired = repair(bytes, end, crc)
    if (repaired !== undefined) {
      take(repaired)
      continue
    }
    const next = findSound(bytes, end)
    if (next === undefined) return tail({ items, end, crc, tornBytes: 0 }, bytes, read.kind === 'broken' ? read.why : '')
    const why = read.kind === 'broken' ? read.why : 'zeros where a record should be'
    items.push({ kind: 'gap', offset: end, bytes: next.offset - end, why })
    take(next)
  }
  return { items, end, crc, tornBytes: 0 }
}

function decoded({ body, offset, end }: ChainedRecord, after: number): LedgerItem {
  try {
    const record = decodeKeeping('LedgerRecord', body)
    if (record.sequence > after) return { kind: 'record', record, offset, bytes: end - offset }
    return { kind: 'gap', offset, bytes: end - offset, why: `record ${record.sequence} stands after record ${after}` }
  } catch (e) {
    if (!isFault(e)) throw e
    return { kind: 'gap', offset, bytes: end - offset, why: e.message }
  }
}

/** What follows the last sound record: nothing, a last record that was never written whole, or damage. */
function tail(scan: LedgerScan, bytes: Uint8Array, why: string): LedgerScan {
  const rest = bytes.length - scan.end
  if (isTorn(bytes, scan.end)) return { ...scan, tornBytes: rest }
  const gap: LedgerItem = { kind: 'gap', offset: scan.end, bytes: rest, why: why === '' ? 'no record starts here' : why }
  return { ...scan, items: [...scan.items, gap] }
}

function isTorn(bytes: Uint8Array, offset: number): boolean {
  const rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).subarray(offset)
  if (rest.length < recordHeadBytes || rest.every((byte) => byte === 0)) return true
  return findRecordHead(rest, 0) === 0 && recordHeadBytes + rest.readUInt32LE(4) > rest.length
}

/**
 * A record whose head alone is damaged. Where the magic is: the CRC fits. Where the CRC is: the next record fits the CRC that
 * this one should carry.
 */
function repair(bytes: Uint8Array, offset: number, previousCrc: number): ChainedRecord | undefined {
  if (offset + recordHeadBytes > bytes.length) return undefined
  const length = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUInt32LE(offset + 4)
  const end = offset + recordHeadBytes + length
  if (length === 0 || end > bytes.length) return undefined
  const body = bytes.subarray(offset + recordHeadBytes, end)
  const { crc } = encodeRecord(body, previousCrc)
  const record = { body, offset, end, crc }
  if (crc === storedCrc(bytes, offset)) return record
  return readRecord(bytes, end, crc).kind === 'record' ? record : undefined
}

/** The first provable record after a damage at `offset`. */
function findSound(bytes: Uint8Array, offset: number): ChainedRecord | undefined {
  const brokenCrc = offset + recordHeadBytes <= bytes.length ? storedCrc(bytes, offset) : undefined
  for (let from = offset + 1; ; from += 1) {
    from = findRecordHead(bytes, from)
    if (from < 0 || from + recordHeadBytes > bytes.length) return undefined
    const sound = soundFrom(bytes, from, brokenCrc)
    if (sound !== undefined) return sound
  }
}

/** The record at `head` where the damaged one before still carries its CRC; else the one after it, proven by the CRC `head` carries. */
function soundFrom(bytes: Uint8Array, head: number, brokenCrc: number | undefined): ChainedRecord | undefined {
  const direct = brokenCrc === undefined ? undefined : readRecord(bytes, head, brokenCrc)
  if (direct?.kind === 'record') return direct.record
  const length = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUInt32LE(head + 4)
  const second = readRecord(bytes, head + recordHeadBytes + length, storedCrc(bytes, head))
  return second.kind === 'record' ? second.record : undefined
}
