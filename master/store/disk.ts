import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { syncDirectory } from '../../base/replace-file.ts'

/** An open file of the store. Rejections carry the errno; after one from `write` or `sync` the file's content is in doubt. */
export interface DiskFile {
  /** Returns how many bytes were written: maybe fewer than given. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** `fdatasync`. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** The few file operations that the log and the snapshots use, so that a test can make any of them fail. */
export interface Disk {
  makeDirectory(path: string): Promise<void>
  /** Names in the folder, sorted. */
  list(path: string): Promise<string[]>
  sizeOf(path: string): Promise<number>
  readAll(path: string): Promise<Buffer>
  /** Creates or empties the file. */
  create(path: string): Promise<DiskFile>
  /** Opens an existing file for reading and writing in place. */
  open(path: string): Promise<DiskFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
}

export const systemDisk: Disk = {
  makeDirectory: async (path) => {
    await mkdir(path, { recursive: true, mode: 0o700 })
  },
  list: async (path) => (await readdir(path)).sort(),
  sizeOf: async (path) => (await stat(path)).size,
  readAll: (path) => readFile(path),
  create: (path) => openFile(path, 'w'),
  open: (path) => openFile(path, 'r+'),
  rename,
  remove: unlink,
  syncDirectory
}

async function openFile(path: string, flags: 'w' | 'r+'): Promise<DiskFile> {
  const handle = await open(path, flags, 0o600)
  return {
    write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
    sync: () => handle.datasync(),
    close: () => handle.close()
  }
}

/** Goes on after short writes; one that writes nothing is an error, not a loop. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const written = await file.write(bytes.subarray(done), position + done)
    if (written <= 0) throw new Error('the disk took no byte of a write')
    done += written
  }
}
