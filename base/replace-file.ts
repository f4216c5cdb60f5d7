import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Where the bytes lie until they are whole. Who dies meanwhile leaves it, for the next one to write anew or to remove. */
export const draftOf = (path: string): string => `${path}.draft`

/** Write-new, fsync, rename, fsync the folder: a reader sees the old bytes or the new ones. A draft that comes to nothing goes. */
export async function replaceFile(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const draft = draftOf(path)
  try {
    await withHandle(await open(draft, 'w', mode), async (f) => {
      await f.writeFile(bytes)
      await f.sync()
    })
    await rename(draft, path)
  } catch (e) {
    await rm(draft, { force: true }).catch(() => undefined) // the first failure is the one to tell
    throw e
  }
  await syncDirectory(dirname(path))
}

/** Makes created, renamed and removed names of a folder durable. */
export async function syncDirectory(path: string): Promise<void> {
  await withHandle(await open(path, 'r'), (d) => d.sync())
}

export async function withHandle<H extends { close(): Promise<void> }, R>(handle: H, body: (h: H) => Promise<R>): Promise<R> {
  try {
    return await body(handle)
  } finally {
    await handle.close()
  }
}
