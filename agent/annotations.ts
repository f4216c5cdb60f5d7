import { crc32 } from 'node:zlib'
import { isFault } from '../base/fault.ts'
import { decodeMessage, encodeMessage } from '../proto/codec.ts'
import type { TaskRow } from '../proto/gen/messages.ts'

const prefix = 'org.hearth.'

/** Whose container a bundle is, as its annotations tell. */
export interface Provenance {
  readonly clusterId: string
  readonly agentId: string
  readonly row: TaskRow
}

type Annotations = Readonly<Record<string, string>>

/** Enough to write a lost row into the ledger again. For people the ids stand beside the row as plain words. */
export function annotationsOf({ clusterId, agentId, row }: Provenance): Annotations {
  const bytes = encodeMessage('TaskRow', row)
  const head = Buffer.alloc(4)
  head.writeUInt32LE(checksum(bytes, clusterId, agentId))
  return {
    [`${prefix}cluster`]: clusterId,
    [`${prefix}agent`]: agentId,
    [`${prefix}framework`]: row.group?.frameworkId ?? '',
    [`${prefix}task`]: row.group?.tasks[0]?.taskId ?? '',
    [`${prefix}attempt`]: String(row.attempt),
    [`${prefix}spec-digest`]: row.specDigest,
    [`${prefix}row`]: Buffer.concat([head, bytes]).toString('base64')
  }
}

/** What annotations prove; undefined where they are damaged, incomplete or of another container. */
export function provenanceOf(annotations: Annotations, containerId: string): Provenance | undefined {
  const bytes = Buffer.from(annotations[`${prefix}row`] ?? '', 'base64')
  const clusterId = annotations[`${prefix}cluster`] ?? ''
  const agentId = annotations[`${prefix}agent`] ?? ''
  if (bytes.length <= 4 || checksum(bytes.subarray(4), clusterId, agentId) !== bytes.readUInt32LE(0)) return undefined
  try {
    const row = decodeMessage('TaskRow', bytes.subarray(4))
    const isSound = row.containerId === containerId && row.group !== null && row.group.tasks.length > 0
    return isSound ? { clusterId, agentId, row } : undefined
  } catch (e) {
    if (!isFault(e)) throw e
    return undefined
  }
}

const checksum = (row: Uint8Array, clusterId: string, agentId: string): number => crc32(`${clusterId}\n${agentId}`, crc32(row))
