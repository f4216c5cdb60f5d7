import { join } from 'node:path'
import { encodeRecord } from '../../base/record-chain.ts'
import { encodeMessage, type Init } from '../../proto/codec.ts'
import type { LogRecord, SegmentHead } from '../../proto/gen/messages.ts'
import { type Disk, type DiskFile, writeAll } from './disk.ts'

export const walFormat = 1

/**
 * A next segment, filled with zeros ahead of use; its rename to a segment's name is the moment it becomes part of the log. Each
 * has a name of its own: the one being renamed and the one being filled may be there at the same time.
 */
export const draftName = (count: number): string => `next-${count}.draft`
/** One segment's worth of space, so that hard state and the end of a snapshot still fit on a full disk. */
export const reserveName = 'reserve.draft'

export const isDraft = (name: string): boolean => /^next-\d+\.draft$/.test(name)

const zeroes = Buffer.alloc(1024 * 1024)
const suffix = '.wal'
const digits = 16

export interface LogIdentity {
  readonly clusterId: string
  readonly nodeId: string
}

export interface SegmentInfo {
  readonly number: number
  readonly path: string
  /** The highest index that was ever written here, also where it was truncated later; 0 where there is none. */
  readonly highestIndex: number
}

export const segmentPath = (directory: string, number: number): string =>
  join(directory, `${String(number).padStart(digits, '0')}${suffix}`)

/** The segment's number; undefined for any other file. */
export function segmentNumber(name: string): number | undefined {
  const text = name.endsWith(suffix) ? name.slice(0, -suffix.length) : ''
  return text.length === digits && /^\d+$/.test(text) ? Number(text) : undefined
}

export function encodeLogRecord(record: Init<LogRecord>, previousCrc: number): { readonly bytes: Buffer; readonly crc: number } {
  return encodeRecord(encodeMessage('LogRecord', record), previousCrc)
}

/** The first record of a segment starts a chain of its own and names the one before. */
export const encodeSegmentHead = (head: SegmentHead): { readonly bytes: Buffer; readonly crc: number } =>
  encodeLogRecord({ head }, 0)

/** A file of zeros on the disk. Blocks that were written once take later data without a change of the file's metadata. */
export async function createZeroed(disk: Disk, path: string, bytes: number): Promise<DiskFile> {
  const file = await disk.create(path)
  try {
    for (let at = 0; at < bytes; at += zeroes.length) {
      await writeAll(file, zeroes.subarray(0, Math.min(zeroes.length, bytes - at)), at)
    }
    await file.sync()
    return file
  } catch (e) {
    await file.close()
    // Half a file would only take up the space that is missing.
    await disk.remove(path).catch(() => undefined)
    throw e
  }
}
