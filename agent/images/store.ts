import { existsSync } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import type { Exec } from '../../base/exec.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import type { ImageStore, ResolvedImage } from '../ports.ts'
import { ContentFiles, hexOf } from './content-files.ts'
import { HostImage } from './host-image.ts'
import { ImageList, type ImageRecord } from './image-list.ts'
import { defaultImageLimits, type ImageLimits } from './limits.ts'
import type { Platform } from './manifest.ts'
import { hostImageName, isDigest, newImageName, normalizeReference } from './reference.ts'
import { endLeftChild, runUnpackChild } from './unpack-child.ts'
import type { ArchiveKind, ImportProgress, UnpackedImage } from './unpack-message.ts'

export interface ImageSummary {
  readonly name: string
  readonly digest: string
  readonly kind: 'host' | Exclude<ArchiveKind, 'auto'>
  /** 0 for the built-in image. */
  readonly importedAtMs: number
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  readonly layers: number
  /** Device nodes of the archive that were left out. */
  readonly skippedDevices: number
  readonly skippedAttributes: number
}

export interface ImageDetails extends ImageSummary {
  readonly layerDigests: readonly string[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
}

export interface Collected {
  readonly layers: number
  readonly blobs: number
  readonly bytes: number
}

export interface ImageStoreParts {
  readonly exec: Exec
  readonly log: Log
  readonly clock: Clock
}

export interface ImageStoreConfig {
  readonly directory: string
  /** The host's root; another one only in tests. */
  readonly hostRoot?: string
  /** The command line of the unpack child (unpack-main.ts, bundled); the request is appended as one argument. */
  readonly unpackProgram: readonly string[]
  readonly limits?: ImageLimits
}

export interface LocalImageStore extends ImageStore {
  /** An empty name stands for the one that the archive gives its image. */
  import(
    archive: AsyncIterable<Uint8Array>,
    options: { readonly name: string; readonly kind: ArchiveKind },
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageSummary>
  list(): Promise<readonly ImageSummary[]>
  show(reference: string): Promise<ImageDetails>
  /** Takes the name away; what it named goes with the next `collect`. */
  remove(reference: string): Promise<void>
  /** Removes blobs and layers that neither an image nor a container with one of these digests uses. */
  collect(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Collected>
  /** Compares the documents with their digests and each layer with what was unpacked. Throws `Fault('corrupt')`. */
  verify(reference: string): Promise<void>
}

const maxImports = 2
const removeTimeoutMs = 600_000
/** An image that was just resolved is about to be used, whether or not its container is on record yet. */
const recentMs = 120_000
const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  riscv64: 'riscv64',
  s390x: 's390x',
  ppc64: 'ppc64le'
}

/** Opens or makes the store, and removes what an earlier agent left half done in it. */
export async function openImageStore(parts: ImageStoreParts, config: ImageStoreConfig): Promise<LocalImageStore> {
  const files = new ContentFiles(config.directory)
  await files.makeFolders()
  const list = await ImageList.open(config.directory)
  if (list.damaged !== undefined) parts.log.error({ path: list.damaged }, 'image.list_damaged')
  const store = new DirectoryImageStore(parts, config, files, list)
  await store.sweep()
  return store
}

class DirectoryImageStore implements LocalImageStore {
  readonly #parts: ImageStoreParts
  readonly #config: ImageStoreConfig
  readonly #files: ContentFiles
  readonly #list: ImageList
  readonly #host: HostImage
  readonly #limits: ImageLimits
  readonly #recent = new Map<string, number>()
  #imports = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: ImageStoreParts, config: ImageStoreConfig, files: ContentFiles, list: ImageList) {
    this.#parts = parts
    this.#config = config
    this.#files = files
    this.#list = list
    this.#limits = config.limits ?? defaultImageLimits
    this.#host = new HostImage(parts, { directory: files.path('hosts'), hostRoot: config.hostRoot ?? '/' })
  }

  async sweep(): Promise<void> {
    const drafts = (await readdir(this.#files.path('drafts'))).map((name) => this.#files.path('drafts', name))
    for (const draft of drafts) await endLeftChild(draft)
    const hosts = (await readdir(this.#files.path('hosts'))).filter((name) => name.includes('.'))
    for (const path of [...drafts, ...hosts.map((name) => this.#files.path('hosts', name))]) {
      await this.#discard(path)
      this.#parts.log.info({ path }, 'image.draft_removed')
    }
  }

  async resolve(reference: string, signal: AbortSignal): Promise<ResolvedImage> {
    signal.throwIfAborted()
    const host = isHost(reference)
    const image = host ? await this.#host.resolve() : await this.#resolved(this.#find(reference))
    this.#recent.set(image.digest, this.#parts.clock.monotonicMs())
    return image
  }

  async import(
    archive: AsyncIterable<Uint8Array>,
    options: { readonly name: string; readonly kind: ArchiveKind },
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageSummary> {
    const name = options.name === '' ? '' : newImageName(options.name)
    if (this.#imports >= maxImports)
      throw new Fault('exhausted', `${maxImports} images are being imported already: try again when one is done`)
    this.#imports += 1
    const draft = this.#files.path('drafts', randomId())
    try {
      await mkdir(draft, { mode: 0o700 })
      const { unpackProgram } = this.#config
      const request = {
        draft,
        finished: this.#files.path('layers'),
        kind: options.kind,
        name,
        platform: platform(),
        limits: this.#limits
      }
      const image = await runUnpackChild(unpackProgram, request, { archive, onProgress }, this.#parts.log, signal)
      const record = await this.#serially(() => this.#publish(draft, image))
      this.#parts.log.info(
        { image: record.name, digest: record.digest, layers: record.layers.length, unpackedBytes: record.unpackedBytes },
        'image.imported'
      )
      return summaryOf(record)
    } catch (e) {
      if (errnoOf(e) === 'ENOSPC') throw new Fault('exhausted', 'no space left on the disk to keep the image', {}, e)
      throw e
    } finally {
      this.#imports -= 1
      await this.#discard(draft)
    }
  }

  async list(): Promise<readonly ImageSummary[]> {
    const host = await this.#host.resolve()
    return [hostSummary(host), ...this.#list.all().map(summaryOf)]
  }

  async show(reference: string): Promise<ImageDetails> {
    if (isHost(reference)) {
      const host = await this.#host.resolve()
      return { ...hostSummary(host), ...runOptions(host), layerDigests: [host.digest] }
    }
    const record = this.#find(reference)
    return { ...summaryOf(record), ...runOptions(record.config), layerDigests: record.layers.map((layer) => layer.diffId) }
  }

  async remove(reference: string): Promise<void> {
    if (isHost(reference)) throw new Fault('invalid', 'the image host is built in and cannot be removed')
    const { name, digest } = this.#find(reference)
    await this.#serially(() => this.#list.delete(name))
    this.#parts.log.info({ image: name, digest }, 'image.removed')
  }

  collect(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Collected> {
    return this.#serially(async () => {
      if (this.#list.damaged !== undefined && existsSync(this.#list.damaged)) {
        throw new Fault('conflict', `nothing is collected while ${this.#list.damaged} lies there: look at it, then move it away`)
      }
      const used = new Set([...inUse, ...this.#recentDigests()])
      await this.#host.collect(used)
      const kept = await this.#kept(used)
      if (kept === undefined) return { layers: 0, blobs: 0, bytes: 0 }
      const strays = await this.#files.strays(kept.blobs, kept.layers)
      let bytes = 0
      for (const hex of strays.layers) {
        signal.throwIfAborted()
        const grave = this.#files.path('drafts', randomId())
        bytes += await this.#files.unlinkLayer(hex, grave)
        await this.#discard(grave)
      }
      for (const hex of strays.blobs) await this.#files.removeBlob(hex)
      const collected = { layers: strays.layers.length, blobs: strays.blobs.length, bytes }
      this.#parts.log.info({ ...collected }, 'image.collected')
      return collected
    })
  }

  async verify(reference: string): Promise<void> {
    if (!isHost(reference)) await this.#files.verify(this.#find(reference))
  }

  async #resolved(record: ImageRecord): Promise<ResolvedImage> {
    // A layer that is in the image twice counts where it stands higher: overlayfs takes no directory twice.
    const links = [...new Set(record.layers.map((layer) => layer.link).reverse())]
    const layers = links.map((link) => this.#files.path('l', link))
    for (const layer of layers) {
      await stat(layer).catch((cause: unknown) => {
        throw new Fault(
          'corrupt',
          `the image ${record.name} is damaged: a layer is missing; remove it and import it again`,
          { layer },
          cause
        )
      })
    }
    return { reference: record.name, digest: record.digest, layers, mounts: [], ...runOptions(record.config) }
  }

  #find(reference: string): ImageRecord {
    const record = isDigest(reference) ? this.#list.withDigest(reference) : this.#list.get(normalizeReference(reference))
    if (record !== undefined) return record
    const known = [hostImageName, ...this.#list.all().map((row) => row.name)].slice(0, 8).join(', ')
    throw new Fault('not-found', `there is no image ${reference} on this node: import it first, or use one of ${known}`)
  }

  async #publish(draft: string, image: UnpackedImage): Promise<ImageRecord> {
    const layers = await this.#files.publish(draft, image)
    const sum = (pick: (layer: UnpackedImage['layers'][number]) => number): number =>
      image.layers.reduce((all, layer) => all + pick(layer), 0)
    const { name, digest, configDigest, kind, archiveBytes, config } = image
    const record: ImageRecord = {
      ...{ name, digest, configDigest, kind, archiveBytes, config, layers },
      importedAtMs: this.#parts.clock.wallMs(),
      unpackedBytes: sum((layer) => layer.bytes),
      entries: sum((layer) => layer.entries),
      skippedDevices: sum((layer) => layer.skippedDevices),
      skippedAttributes: sum((layer) => layer.skippedAttributes)
    }
    await this.#list.put(record)
    return record
  }

  /** What images and living containers need; undefined where that cannot be told for one of them. */
  async #kept(inUse: ReadonlySet<string>): Promise<{ blobs: ReadonlySet<string>; layers: ReadonlySet<string> } | undefined> {
    const blobs = new Set<string>()
    const layers = new Set<string>()
    for (const record of this.#list.all()) {
      for (const digest of [record.digest, record.configDigest]) blobs.add(digest)
      for (const layer of record.layers) layers.add(layer.diffId)
    }
    const host = (await this.#host.resolve()).digest
    for (const digest of inUse) {
      if (blobs.has(digest) || digest === host || existsSync(this.#files.path('hosts', hexOf(digest)))) continue
      const image = await this.#files.layersOf(digest)
      if (image === undefined) {
        this.#parts.log.warn({ digest }, 'image.collect_skipped')
        return undefined
      }
      for (const kept of [digest, image.configDigest]) blobs.add(kept)
      for (const diffId of image.diffIds) layers.add(diffId)
    }
    return { blobs, layers }
  }

  #recentDigests(): readonly string[] {
    const now = this.#parts.clock.monotonicMs()
    for (const [digest, atMs] of this.#recent) if (now - atMs > recentMs) this.#recent.delete(digest)
    // One that is gone altogether needs no protection.
    return [...this.#recent.keys()].filter((digest) => existsSync(this.#files.path('blobs/sha256', hexOf(digest))))
  }

  /** Through `rm`: a large tree would keep the agent's thread pool busy. */
  async #discard(path: string): Promise<void> {
    const options = { timeoutMs: removeTimeoutMs }
    const result = await this.#parts.exec.run(
      'rm',
      ['--recursive', '--force', '--one-file-system', '--', path],
      options,
      new AbortController().signal
    )
    if (result.code !== 0) this.#parts.log.warn({ path, stderr: result.stderr.slice(0, 200) }, 'image.discard_failed')
  }

  /** Names and layers change one at a time. */
  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}

const isHost = (reference: string): boolean => reference === hostImageName || reference === `${hostImageName}:latest`

const platform = (): Platform => ({ os: 'linux', architecture: architectures[process.arch] ?? process.arch })

function runOptions(
  config: Pick<ResolvedImage, 'entrypoint' | 'command' | 'environment' | 'workingDirectory' | 'user' | 'stopSignal'>
) {
  const { entrypoint, command, user, stopSignal } = config
  const hasPath = config.environment.some((pair) => pair.startsWith('PATH='))
  const environment = hasPath ? config.environment : [defaultPath, ...config.environment]
  return { entrypoint, command, user, stopSignal, environment, workingDirectory: config.workingDirectory || '/' }
}

function summaryOf(record: ImageRecord): ImageSummary {
  const { name, digest, kind, importedAtMs, archiveBytes, unpackedBytes, entries, skippedDevices, skippedAttributes } = record
  return {
    name,
    digest,
    kind,
    importedAtMs,
    archiveBytes,
    unpackedBytes,
    entries,
    layers: record.layers.length,
    skippedDevices,
    skippedAttributes
  }
}

function hostSummary(host: ResolvedImage): ImageSummary {
  const nothing = { importedAtMs: 0, archiveBytes: 0, unpackedBytes: 0, entries: 0, skippedDevices: 0, skippedAttributes: 0 }
  return { name: hostImageName, digest: host.digest, kind: 'host', layers: 1, ...nothing }
}
