import { constants, write } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { syncDirectory } from '../../base/replace-file.ts'

/** An open file of the store. Rejections carry the errno; after one from `write` or `sync` the file's content is in doubt. */
export interface DiskFile {
  /** Returns how many bytes were written: maybe fewer than given. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** As `write`, and what was written is durable when it resolves: these bytes, not what earlier writes left to `sync`. */
  writeSynced(bytes: Uint8Array, position: number): Promise<number>
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

/** Twice: a write that the kernel makes durable itself (O_DSYNC) takes one thread's work, where `write` and `sync` take two. */
async function openFile(path: string, flags: 'w' | 'r+'): Promise<DiskFile> {
  const handle = await open(path, flags, 0o600)
  try {
    const synced = await open(path, constants.O_RDWR | constants.O_DSYNC)
    return {
      write: (bytes, position) => writeTo(handle.fd, bytes, position),
      writeSynced: (bytes, position) => writeTo(synced.fd, bytes, position),
      sync: () => handle.datasync(),
      close: async () => {
        await synced.close()
        await handle.close()
      }
    }
  } catch (e) {
    await handle.close()
    throw e
  }
}

const writeTo = (fd: number, bytes: Uint8Array, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, written) => (error === null ? resolve(written) : reject(error)))
  })

/** Goes on after short writes; one that writes nothing is an error, not a loop. */
export const writeAll = (file: DiskFile, bytes: Uint8Array, position: number): Promise<void> =>
  writeOn((rest, at) => file.write(rest, at), bytes, position)

/** As `writeAll`; the bytes are durable when it resolves. */
export const writeAllSynced = (file: DiskFile, bytes: Uint8Array, position: number): Promise<void> =>
  writeOn((rest, at) => file.writeSynced(rest, at), bytes, position)

async function writeOn(writeSome: DiskFile['write'], bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const written = await writeSome(bytes.subarray(done), position + done)
    if (written <= 0) throw new Error('the disk took no byte of a write')
    done += written
  }
}
