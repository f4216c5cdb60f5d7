import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Isolator, IsolatorRequest, Limitation } from './isolator.ts'

interface DiskParts {
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/**
 * Counts the writable layer, the sandbox and the log against the task's disk limit. The host cannot cap a directory here, so
 * the size is measured every 15 s: between two looks a task can overshoot, and the node's capability says so.
 */
export function diskLimit(parts: DiskParts, everyMs = 15_000): Isolator {
  return {
    name: 'disk',
    capabilities: async () => [{ name: 'limit.disk', present: true, detail: `measured every ${everyMs / 1000} s` }],
    prepare: async () => ({}),
    async watch(request, signal): Promise<Limitation> {
      if (request.limits.diskBytes === 0) return never(signal)
      for (;;) {
        await parts.sleep(everyMs, signal)
        const used = await measureFiles(request.sandboxDir, signal)
        if (used > request.limits.diskBytes) {
          const message = `the task’s files take ${used} bytes, more than its disk limit of ${request.limits.diskBytes}`
          return { limit: 'disk', message }
        }
      }
    },
    usage: async (request: IsolatorRequest) => ({
      diskBytes: await measureFiles(request.sandboxDir, new AbortController().signal)
    }),
    cleanup: async () => undefined
  }
}

const never = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })

/** Bytes that the tree's blocks take, hard links once. A file that vanishes while it is looked at counts nothing. */
export async function measureFiles(root: string, signal: AbortSignal): Promise<number> {
  const seen = new Set<string>()
  const pending = [root]
  let bytes = 0
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal.throwIfAborted()
    const facts = await lstat(path).catch(() => undefined) // vanished
    if (facts === undefined) continue
    const key = `${facts.dev}:${facts.ino}`
    if (facts.nlink > 1 && !facts.isDirectory()) {
      if (seen.has(key)) continue
      seen.add(key)
    }
    bytes += facts.blocks * 512
    if (facts.isDirectory()) pending.push(...(await names(path)))
  }
  return bytes
}

async function names(path: string): Promise<readonly string[]> {
  const found: string[] = []
  try {
    for await (const entry of await opendir(path)) found.push(join(path, entry.name))
  } catch {
    // The directory vanished while it was read: what was seen until then counts.
  }
  return found
}
