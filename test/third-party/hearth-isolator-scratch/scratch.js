// An isolator that Hearth does not know: a container whose task has the label scratch.mib=N gets a folder of its own at /scratch and
// is ended when it has written more than N MiB there. docs/adding-an-isolator.md builds it step by step.
import { lstat, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

export const contract = 1

const root = process.env.SCRATCH_ROOT ?? '/var/tmp/hearth-scratch'
const label = 'scratch.mib'
const lookMs = 1_000

/** What the task asks for, in bytes; 0 where it asks for nothing. */
function wantedBytes(request) {
  const text = request.labels[label]
  if (text === undefined) return 0
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text) * 1024 ** 2
  throw Object.assign(new Error(`the label ${label} must be a whole number of MiB, not ${JSON.stringify(text)}`), { code: 'invalid' })
}

async function bytesIn(folder) {
  const names = await readdir(folder, { recursive: true }).catch(() => []) // going
  const facts = await Promise.all(names.map((name) => lstat(join(folder, name)).catch(() => undefined)))
  return facts.reduce((sum, fact) => sum + (fact?.blocks ?? 0) * 512, 0)
}

export function createIsolator({ sleep }) {
  const folderOf = (request) => join(root, request.containerId)
  return {
    name: 'scratch',
    place: { needs: ['filesystem'] },

    async capabilities() {
      await mkdir(root, { recursive: true, mode: 0o711 })
      return [{ name: 'scratch', present: true, detail: `below ${root}, looked at every ${lookMs / 1000} s` }]
    },

    async prepare(request, signal) {
      if (wantedBytes(request) === 0) return {}
      signal.throwIfAborted()
      const folder = folderOf(request)
      await request.journal({ kind: 'other', id: folder })
      await mkdir(folder, { recursive: true, mode: 0o777 })
      return {
        env: ['SCRATCH=/scratch'],
        mounts: [{ destination: '/scratch', type: 'bind', source: folder, options: ['bind', 'rw', 'nosuid', 'nodev'] }]
      }
    },

    async watch(request, signal) {
      const most = wantedBytes(request)
      for (;;) {
        await sleep(lookMs, signal)
        if (most === 0) continue
        const used = await bytesIn(folderOf(request))
        if (used > most) return { limit: 'other', message: `${used} bytes are in /scratch, more than the ${most} it asked for` }
      }
    },

    async usage(request) {
      return { scratchBytes: await bytesIn(folderOf(request)) }
    },

    async cleanup(request) {
      await rm(folderOf(request), { recursive: true, force: true })
    }
  }
}
