import { join } from 'node:path'
import { isFault } from '../../base/fault.ts'
import { type ChainedRecord, readRecord } from '../../base/record-chain.ts'
import { decodeMessage } from '../../proto/codec.ts'
import type { LogRecord } from '../../proto/gen/messages.ts'
import type { Disk } from './disk.ts'
import { segmentNumber } from './segment.ts'

/** One record of the log as it lies on the disk, for people. `index` and `term` are 0 where a kind has none. */
export interface RecordLine {
  readonly segment: number
  readonly offset: number
  readonly kind: 'head' | 'entry' | 'membership' | 'hard-state' | 'truncate' | 'reset' | 'unknown' | 'broken'
  readonly index: number
  readonly term: number
  readonly bytes: number
  readonly acknowledgedIndex: number
  /** How much of the segment was durable when it was written; 0 where an older build wrote it. */
  readonly syncedBytes: number
  readonly what: string
}

/** Every record up to the end of each segment, or up to what cannot be read in it. Changes nothing. */
export async function* readRecords(disk: Pick<Disk, 'list' | 'readAll'>, directory: string): AsyncGenerator<RecordLine> {
  const names = (await disk.list(directory)).filter((name) => segmentNumber(name) !== undefined)
  for (const name of names) {
    const segment = segmentNumber(name) ?? 0
    const bytes = await disk.readAll(join(directory, name))
    let offset = 0
    let crc = 0
    for (;;) {
      const read = readRecord(bytes, offset, crc)
      if (read.kind === 'broken') yield { ...blank, segment, offset, kind: 'broken', what: read.why }
      if (read.kind !== 'record') break
      yield lineOf(segment, read.record)
      offset = read.record.end
      crc = read.record.crc
    }
  }
}

const blank = { index: 0, term: 0, bytes: 0, acknowledgedIndex: 0, syncedBytes: 0 }

function lineOf(segment: number, { offset, end, body }: ChainedRecord): RecordLine {
  const place = { ...blank, segment, offset, bytes: end - offset }
  const record = decoded(body)
  if (record === undefined) return { ...place, kind: 'unknown', what: 'a sound record that this build cannot read' }
  const { acknowledgedIndex, syncedBytes } = record
  return { ...place, acknowledgedIndex, syncedBytes, ...told(record) }
}

function told({ head, entry, hardState, truncate, reset }: LogRecord): Pick<RecordLine, 'kind' | 'what'> & Partial<RecordLine> {
  if (head !== null) {
    return {
      kind: 'head',
      index: head.firstIndex,
      what: `cluster ${head.clusterId}, node ${head.nodeId}, from ${head.firstIndex}`
    }
  }
  if (entry !== null) {
    const { index, term, type, data } = entry
    const what = data.length === 0 ? 'first of a term' : `${data.length} bytes`
    return { kind: type === 0 ? 'entry' : 'membership', index, term, what }
  }
  if (hardState !== null) {
    const { term, vote, votedFor, commit } = hardState
    const votes = vote === 0 && votedFor === '' ? 'no vote' : `vote for ${vote === 0 ? votedFor : vote}`
    return { kind: 'hard-state', term, what: `${votes}, committed ${commit}` }
  }
  if (truncate !== null) return { kind: 'truncate', index: truncate.fromIndex, what: `void from ${truncate.fromIndex} on` }
  if (reset !== null)
    return { kind: 'reset', index: reset.afterIndex, what: `a snapshot stands for all up to ${reset.afterIndex}` }
  return { kind: 'unknown', what: 'a record of a kind that this build does not know' }
}

function decoded(body: Uint8Array): LogRecord | undefined {
  try {
    return decodeMessage('LogRecord', body)
  } catch (e) {
    if (isFault(e)) return undefined
    throw e
  }
}
