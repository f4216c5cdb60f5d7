import { diskFiles, type LedgerFiles } from '../../../agent/ledger/files.ts'
import type { Init } from '../../../proto/codec.ts'
import type { LedgerRecord, TaskRow } from '../../../proto/gen/messages.ts'

export const containerId = (n: number): string => n.toString(16).padStart(32, '0')

export const taskRow = (n: number, image = 'host', more: Init<TaskRow> = {}): Init<LedgerRecord> => ({
  task: {
    ...more,
    group: { frameworkId: 'f', role: '*', tasks: [{ taskId: `t-${n}`, name: `t-${n}`, image }] },
    attempt: 1,
    containerId: containerId(n),
    specDigest: 'd',
    atMs: 1
  }
})

export const objectRow = (n: number, phase: 'intent' | 'done' | 'released', id = `/run/c/${n}`): Init<LedgerRecord> => ({
  object: { kind: 'bundle', id, containerId: containerId(n), phase, bootId: 'b', facts: { pid: '1' } }
})

export const statusRow = (n: number, number: number, state: 'running' | 'finished' = 'running'): Init<LedgerRecord> => ({
  status: { frameworkId: 'f', taskId: `t-${n}`, attempt: 1, containerId: containerId(n), state, number, atMs: 2 }
})

export interface Calls {
  writes: number
  syncs: number
}

interface Faults {
  /** Bytes that may still be written; beyond them every write fails with ENOSPC after taking what fits. */
  room?: number
  /** The error that the next calls of this name fail with. */
  write?: string
  datasync?: string
  read?: string
  /** At most this many bytes are taken by one write. */
  shortWrites?: number
}

const errno = (code: string): Error => Object.assign(new Error(`${code}: injected`), { code })

/** The real files, with counted calls and failures as told. Removing `reserve` gives `room` its bytes back. */
export function faultyFiles(faults: Faults): { readonly files: LedgerFiles; readonly calls: Calls } {
  const calls: Calls = { writes: 0, syncs: 0 }
  const take = (bytes: Uint8Array): Uint8Array => {
    if (faults.write !== undefined) throw errno(faults.write)
    const most = Math.min(faults.shortWrites ?? bytes.length, faults.room ?? bytes.length)
    if (most === 0) throw errno('ENOSPC')
    const taken = bytes.subarray(0, most)
    if (faults.room !== undefined) faults.room -= taken.length
    return taken
  }
  const files: LedgerFiles = {
    ...diskFiles,
    read: (path) => (faults.read === undefined ? diskFiles.read(path) : Promise.reject(errno(faults.read))),
    remove: async (path) => {
      if (faults.room !== undefined && path.endsWith('/reserve')) faults.room += (await diskFiles.read(path)).length
      await diskFiles.remove(path)
    },
    freeBytes: (directory) => (faults.room === undefined ? diskFiles.freeBytes(directory) : Promise.resolve(faults.room)),
    open: async (path) => {
      const file = await diskFiles.open(path)
      return {
        ...file,
        write: async (bytes, position) => {
          calls.writes += 1
          return await file.write(take(bytes), position)
        },
        datasync: async () => {
          calls.syncs += 1
          if (faults.datasync !== undefined) throw errno(faults.datasync)
          await file.datasync()
        }
      }
    }
  }
  return { files, calls }
}
