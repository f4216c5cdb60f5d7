import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { silentLog } from '../../../base/log.ts'
import { type Disk, systemDisk } from '../../../master/store/disk.ts'
import type { RecoveredLog } from '../../../master/store/recovery.ts'
import { Wal } from '../../../master/store/wal.ts'
import type { LogEntry } from '../../../proto/gen/messages.ts'

export const identity = { clusterId: 'c'.repeat(32), nodeId: 'd'.repeat(32) }

export async function newDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-wal-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export interface Opened {
  readonly wal: Wal
  readonly recovered: RecoveredLog
}

export async function openWal(
  directory: string,
  more: { disk?: Disk; segmentBytes?: number; keepAfter?: number } = {}
): Promise<Opened> {
  const { disk = systemDisk, segmentBytes = 4096, keepAfter = 0 } = more
  const wal = new Wal({ disk, log: silentLog }, { directory, ...identity, segmentBytes, keepAfter })
  try {
    return { wal, recovered: await wal.open() }
  } catch (e) {
    await wal.close()
    throw e
  }
}

export const entry = (index: number, term = 1, bytes = 20): LogEntry => ({
  term,
  index,
  type: 0,
  data: new Uint8Array(Buffer.alloc(bytes, `entry ${index} of term ${term}; `))
})

/** Appends one by one, each its own fdatasync. */
export async function appendEach(wal: Wal, from: number, to: number, term = 1): Promise<void> {
  for (let index = from; index <= to; index += 1) await wal.append([entry(index, term)])
}

/** Text that tells two logs apart. */
export const told = (entries: readonly LogEntry[]): string[] =>
  entries.map((e) => `${e.index}/${e.term}:${Buffer.from(e.data).toString('latin1')}`)
