import { type FileHandle, link, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises'
import { syncDirectory } from '../../base/replace-file.ts'

/** The file calls of the ledger, few enough that a test can stand in for a full or failing disk. */
export interface LedgerFiles {
  /** Opens for writing at positions; makes the file where it is not there. */
  open(path: string): Promise<LedgerFile>
  read(path: string): Promise<Buffer>
  list(directory: string): Promise<readonly string[]>
  rename(from: string, to: string): Promise<void>
  link(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Bytes that may still be written to the file system that holds the directory. */
  freeBytes(directory: string): Promise<number>
}

export interface LedgerFile {
  /** The number of bytes taken, which may be fewer than given. */
  write(bytes: Uint8Array, position: number): Promise<number>
  datasync(): Promise<void>
  truncate(length: number): Promise<void>
  close(): Promise<void>
}

const openForWriting = async (path: string): Promise<FileHandle> => {
  try {
    return await open(path, 'r+')
  } catch (e) {
    if (e instanceof Error && 'code' in e && e.code === 'ENOENT') return await open(path, 'wx', 0o600)
    throw e
  }
}

export const diskFiles: LedgerFiles = {
  open: async (path) => {
    const handle = await openForWriting(path)
    return {
      write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
      datasync: () => handle.datasync(),
      truncate: (length) => handle.truncate(length),
      close: () => handle.close()
    }
  },
  read: (path) => readFile(path),
  list: (directory) => readdir(directory),
  rename,
  link,
  remove: (path) => rm(path, { force: true }),
  syncDirectory,
  freeBytes: async (directory) => {
    const { bavail, bsize } = await statfs(directory)
    return bavail * bsize
  }
}

/** Writes all of `bytes`. A failure may leave any part of them written. */
export async function writeFully(file: LedgerFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const taken = await file.write(bytes.subarray(done), position + done)
    if (taken === 0) throw Object.assign(new Error('the file takes no more bytes'), { code: 'ENOSPC' })
    done += taken
  }
}
