import { chown, lstat, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import { syncDirectory } from '../../base/replace-file.ts'
import { targetOf } from '../../proto/artifacts.ts'
import type { Artifact } from '../../proto/gen/messages.ts'
import type { ContentFiles } from './content-files.ts'
import type { ImageWork } from './image-work.ts'
import type { RegistrySettings } from './registry/settings.ts'

interface ArtifactParts {
  readonly files: Pick<ContentFiles, 'path'>
  readonly work: Pick<ImageWork, 'fetchArtifact' | 'copyArtifact'>
}

/** Where artifacts come to lie, and whose they are. */
interface Place {
  readonly folder: string
  readonly uid: number
  readonly gid: number
}

/** An artifact and the sha256 that it was found to have. */
export interface FoundArtifact {
  readonly artifact: Artifact
  readonly sha256: string
}

const folder = 'artifacts'

/** Files that tasks name, kept by their digest: one whose digest is known is fetched once. */
export class Artifacts {
  readonly #parts: ArtifactParts
  readonly #registries: RegistrySettings

  constructor(parts: ArtifactParts, registries: RegistrySettings) {
    this.#parts = parts
    this.#registries = registries
  }

  /** Rejects with the first Fault, whose reason is `artifact_failed` unless it has one of its own. */
  async fetch(artifacts: readonly Artifact[], signal: AbortSignal): Promise<readonly FoundArtifact[]> {
    const found: FoundArtifact[] = []
    for (const artifact of artifacts) {
      const sha256 = await told(() => this.#fetched(artifact, signal))
      found.push({ artifact, sha256 })
    }
    return found
  }

  /** Into a sandbox in which nothing runs yet. */
  async place(found: readonly FoundArtifact[], place: Place, signal: AbortSignal): Promise<void> {
    if (found.length === 0) return
    // Of a launch that an earlier agent had not brought to its start.
    await rm(place.folder, { recursive: true, force: true })
    await mkdir(place.folder, { recursive: true, mode: 0o755 })
    for (const one of found) await told(() => this.#placed(one, place, signal))
  }

  /** Removes what nobody has used for so long. Tells its bytes. */
  async collect(unusedMs: number, nowMs: number): Promise<number> {
    let bytes = 0
    for (const name of await readdir(this.#path())) {
      const { mtimeMs, size } = await stat(this.#path(name))
      if (mtimeMs > nowMs - unusedMs) continue
      await rm(this.#path(name), { force: true })
      bytes += size
    }
    return bytes
  }

  async #fetched({ url, sha256 }: Artifact, signal: AbortSignal): Promise<string> {
    if (sha256 !== '' && (await this.#touched(sha256))) return sha256
    return this.#parts.work.fetchArtifact(
      { url, sha256, registries: this.#registries },
      async (draft, fetched) => {
        await rename(join(draft, 'blob'), this.#path(fetched.sha256))
        await syncDirectory(this.#path())
        return fetched.sha256
      },
      signal
    )
  }

  async #placed({ artifact, sha256 }: FoundArtifact, { folder: root, uid, gid }: Place, signal: AbortSignal): Promise<void> {
    const { unpack, executable } = artifact
    const target = targetOf(artifact)
    await makeParents(root, target, { uid, gid })
    const order = { blob: this.#path(sha256), sha256, unpack, executable, uid, gid }
    try {
      await this.#parts.work.copyArtifact(order, join(root, target), signal)
    } catch (e) {
      // What is damaged here comes anew with the next attempt.
      if (isFault(e, 'corrupt')) await rm(this.#path(sha256), { force: true })
      throw e
    }
  }

  async #touched(sha256: string): Promise<boolean> {
    const now = new Date()
    try {
      await utimes(this.#path(sha256), now, now)
      return true
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return false
      throw e
    }
  }

  #path(...names: readonly string[]): string {
    return this.#parts.files.path(folder, ...names)
  }
}

/** Nothing that an artifact before has brought is followed out of the sandbox, and nothing of it is written over. */
async function makeParents(root: string, target: string, { uid, gid }: Pick<Place, 'uid' | 'gid'>): Promise<void> {
  const parts = target.split('/')
  for (let depth = 1; depth < parts.length; depth += 1) {
    const path = join(root, ...parts.slice(0, depth))
    const is = await statsOf(path)
    if (is === undefined) {
      await mkdir(path, { mode: 0o755 })
      await chown(path, uid, gid)
    } else if (!is.isDirectory()) throw taken(target)
  }
  if ((await statsOf(join(root, target))) !== undefined) throw taken(target)
}

const statsOf = (path: string) =>
  lstat(path).catch((e: unknown) => {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  })

const taken = (target: string): Fault =>
  new Fault(
    'invalid',
    `an artifact is to lie at ${target} of the sandbox, where another one has put something else: give it another place`
  )

async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (e) {
    if (!isFault(e)) throw e
    throw new Fault(e.code, `an artifact is missing: ${e.message}`, { reason: 'artifact_failed', ...e.detail }, e)
  }
}
