import { existsSync } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import { Fault } from '../../base/fault.ts'
import { randomId } from '../../base/random.ts'
import { isDigest } from '../../proto/image-name.ts'
import type { PullWish, ResolvedImage } from '../ports.ts'
import { Artifacts } from './artifacts.ts'
import { ContentFiles, hexOf } from './content-files.ts'
import { HostImage } from './host-image.ts'
import { ImageCare, type Repull, type VerifyOptions } from './image-care.ts'
import { ImageList, type ImageRecord } from './image-list.ts'
import { hostSummary, type ImageDetails, type ImageSummary, runOptions, summaryOf } from './image-views.ts'
import { ImageWork } from './image-work.ts'
import { LastUse } from './last-use.ts'
import { defaultImageLimits } from './limits.ts'
import type { ImageStoreConfig, ImageStoreParts, LocalImageStore } from './local-store.ts'
import { type Collected, isEnough, isLow, type Pruned, type PruneWish, prunable, pruneEach, type Room, spared } from './prune.ts'
import { Pulls } from './pulls.ts'
import { hostImageName, newImageName, normalizeReference, pulledName } from './reference.ts'
import { SignatureKeeper, signedImage } from './signature-keeper.ts'
import { Suspicion } from './suspicion.ts'
import type { ArchiveKind, ImportProgress, KeptLayers, PullSecrets, UnpackedImage } from './unpack-message.ts'
import type { Verdict } from './verdict.ts'

const maxImports = 2
/** An image that was just resolved is about to be used, whether or not its container is on record yet. */
const recentMs = 120_000
/** Layers of a pull that failed are worth something to the next try, for so long. */
const unfinishedMs = 3_600_000
/** Artifacts that nobody has used for so long go. */
const artifactMs = 7 * 24 * 3_600_000
/** Opens or makes the store, and removes what an earlier agent left half done in it. */
export async function openImageStore(parts: ImageStoreParts, config: ImageStoreConfig): Promise<LocalImageStore> {
  const files = new ContentFiles(config.directory)
  await files.makeFolders()
  const list = await ImageList.open(config.directory)
  if (list.damaged !== undefined) parts.log.error({ path: list.damaged }, 'image.list_damaged')
  const { unpackProgram, limits = defaultImageLimits, proxy } = config
  const work = new ImageWork({ ...parts, files }, { unpackProgram, limits, proxy })
  await work.sweep()
  const lastUse = await LastUse.open(files.path('used.json'), parts.clock)
  const { layers } = await files.strays(new Set(), new Set())
  const digests = layers.map((hex) => `sha256:${hex}`)
  const suspicion = await Suspicion.open(files.path('boot.json'), config.bootId, digests)
  return new DirectoryImageStore(parts, config, { files, list, work, lastUse, suspicion })
}

interface Rooms {
  readonly files: ContentFiles
  readonly list: ImageList
  readonly work: ImageWork
  readonly lastUse: LastUse
  readonly suspicion: Suspicion
}

class DirectoryImageStore implements LocalImageStore {
  readonly #parts: ImageStoreParts
  readonly #config: ImageStoreConfig
  readonly #files: ContentFiles
  readonly #list: ImageList
  readonly #host: HostImage
  readonly #work: ImageWork
  readonly #pulls: Pulls<ImageRecord>
  readonly #lastUse: LastUse
  readonly #suspicion: Suspicion
  readonly #care: ImageCare
  readonly #signatures: SignatureKeeper
  readonly artifacts: Artifacts
  readonly #recent = new Map<string, number>()
  #imports = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: ImageStoreParts, config: ImageStoreConfig, { files, list, work, lastUse, suspicion }: Rooms) {
    this.#lastUse = lastUse
    this.#suspicion = suspicion
    const repull: Repull = (...of) => this.#repair(...of)
    this.#care = new ImageCare({ files, work, suspicion, log: parts.log, repull })
    this.#parts = parts
    this.#config = config
    this.#files = files
    this.#list = list
    this.#work = work
    this.#pulls = new Pulls((wish, onProgress, signal) => this.#pull(wish.name, wish.secrets, onProgress, signal))
    const keeper = { list, work, serially: <T>(change: () => Promise<T>) => this.#serially(change) }
    this.#signatures = new SignatureKeeper(keeper, config.registries)
    this.artifacts = new Artifacts({ files, work }, config.registries)
    this.#host = new HostImage(parts, { directory: files.path('hosts'), hostRoot: config.hostRoot ?? '/' })
  }

  async resolve(reference: string, signal: AbortSignal): Promise<ResolvedImage> {
    signal.throwIfAborted()
    const image = isHost(reference) ? await this.#host.resolve() : await this.#resolved(this.#find(reference))
    this.#used(image.digest)
    return image
  }

  async fetch(reference: string, wish: PullWish, signal: AbortSignal): Promise<void> {
    if (isHost(reference)) return
    const { policy, onProgress, signatures = [] } = wish
    const known = this.#known(reference)
    if (known !== undefined) await this.#care.settle(known, onProgress, signal)
    if (policy === 'always' || (policy === 'missing' && known === undefined)) {
      if (!isDigest(reference)) this.#used((await this.pull(reference, {}, onProgress, signal)).digest)
    } else if (known !== undefined) this.#used(known.digest)
    const record = this.#known(reference)
    if (record !== undefined && policy !== 'never') await this.#signatures.complete(record, signatures, signal)
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
    const request = { task: 'unpack', kind: options.kind, name } as const
    try {
      return summaryOf(
        await this.#work.make(request, { input: archive, onProgress }, (draft, image) => this.#taken(draft, image), signal)
      )
    } finally {
      this.#imports -= 1
    }
  }

  async pull(
    reference: string,
    secrets: PullSecrets,
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageSummary> {
    const record = await this.#pulls.join({ name: pulledName(reference), secrets }, onProgress, signal)
    await this.#care.settle(record, onProgress, signal)
    this.#lastUse.note(record.digest)
    return summaryOf(record)
  }

  async list(): Promise<readonly ImageSummary[]> {
    const host = await this.#host.resolve()
    return [hostSummary(host), ...this.#list.all().map(summaryOf)]
  }

  async show(reference: string): Promise<ImageDetails> {
    if (isHost(reference)) {
      const host = await this.#host.resolve()
      const views = await this.#views([host.digest])
      return { ...hostSummary(host), ...runOptions(host), layerDigests: [host.digest], views }
    }
    const record = this.#find(reference)
    const layerDigests = record.layers.map((layer) => layer.diffId)
    const views = await this.#views(record.layers.map((layer) => layer.link))
    return { ...summaryOf(record), ...runOptions(record.config), layerDigests, views }
  }

  async #views(layers: readonly string[]): Promise<number> {
    return (await this.#parts.views?.countOf(layers)) ?? 0
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
      await this.artifacts.collect(artifactMs, this.#parts.clock.wallMs())
      await this.#host.collect(used)
      const kept = await this.#kept(used)
      if (kept === undefined) return { layers: 0, blobs: 0, bytes: 0 }
      const strays = await this.#files.strays(kept.blobs, kept.layers)
      let bytes = 0
      for (const hex of strays.layers) {
        signal.throwIfAborted()
        const grave = this.#files.path('drafts', randomId())
        bytes += await this.#files.unlinkLayer(hex, grave)
        await this.#work.discard(grave)
      }
      for (const hex of strays.blobs) await this.#files.removeBlob(hex)
      await this.#parts.views?.collect()
      await this.#lastUse.save(new Set(this.#list.all().map((record) => record.digest)))
      const collected = { layers: strays.layers.length, blobs: strays.blobs.length, bytes }
      this.#parts.log.info({ ...collected }, 'image.collected')
      return collected
    })
  }

  async prune(
    wish: PruneWish,
    inUse: ReadonlySet<string>,
    signal: AbortSignal,
    isEnough: () => Promise<boolean> = async () => false
  ): Promise<Pruned> {
    const used = new Set([...inUse, ...this.#recentDigests()])
    const facts = { nowMs: this.#parts.clock.wallMs(), inUse: used, usedAtMs: (digest: string) => this.#lastUse.of(digest) }
    const remove = async ({ name, digest }: ImageRecord): Promise<Collected> => {
      await this.#serially(() => this.#list.delete(name))
      this.#parts.log.info({ image: name, digest }, 'image.pruned')
      return this.collect(inUse, signal)
    }
    return pruneEach(prunable(this.#list.all(), wish, facts), remove, isEnough, signal)
  }

  async relieve(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Pruned> {
    if (!isLow(await this.#room())) return { images: [], layers: 0, blobs: 0, bytes: 0 }
    await this.artifacts.collect(unfinishedMs, this.#parts.clock.wallMs())
    return this.prune(spared, inUse, signal, async () => isEnough(await this.#room()))
  }

  async verify(reference: string, options: VerifyOptions, signal: AbortSignal): Promise<Verdict> {
    if (isHost(reference)) {
      const { reference: image, digest } = await this.#host.resolve()
      return { image, digest, layers: 0, damage: [], repaired: false }
    }
    return this.#care.verify(this.#find(reference), options, signal)
  }

  close(): Promise<void> {
    return this.#suspicion.close()
  }

  async #room(): Promise<Room> {
    const { bavail, blocks, bsize } = await statfs(this.#files.directory)
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
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
    return { ...signedImage(record), digest: record.digest, layers, mounts: [], ...runOptions(record.config) }
  }

  #known(reference: string): ImageRecord | undefined {
    return isDigest(reference) ? this.#list.withDigest(reference) : this.#list.get(normalizeReference(reference))
  }

  #find(reference: string): ImageRecord {
    const record = this.#known(reference)
    if (record !== undefined) return record
    const known = [hostImageName, ...this.#list.all().map((row) => row.name)].slice(0, 8).join(', ')
    throw new Fault('not-found', `there is no image ${reference} on this node: pull or import it first, or use one of ${known}`)
  }

  #pull(
    name: string,
    secrets: PullSecrets,
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageRecord> {
    const request = { task: 'pull', name, registries: this.#config.registries, anew: [] } as const
    return this.#work.make(
      request,
      { input: this.#work.secretly(secrets), onProgress, onKept: (draft, kept) => this.#keep(draft, kept) },
      (draft, image) => this.#taken(draft, image),
      signal
    )
  }

  /** The next try finds them, if it comes soon enough. */
  async #keep(draft: string, kept: KeptLayers): Promise<void> {
    await this.#serially(() => this.#files.keep(draft, kept))
    this.#recent.set(kept.digest, this.#parts.clock.monotonicMs() + unfinishedMs)
    this.#parts.log.info({ digest: kept.digest, layers: kept.layers.length }, 'image.layers_kept')
  }

  /** By its digest: what the tag means today is another matter. */
  #repair(
    { name, digest }: ImageRecord,
    damaged: readonly string[],
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageRecord> {
    const exact = `${name.replace(/[:@][^/]*$/, '')}@${digest}`
    const request = { task: 'pull', name: exact, registries: this.#config.registries, anew: damaged } as const
    const publish = (draft: string, image: UnpackedImage) => this.#taken(draft, { ...image, name }, damaged)
    return this.#work.make(request, { input: this.#work.secretly({}), onProgress }, publish, signal)
  }

  async #taken(draft: string, image: UnpackedImage, damaged: readonly string[] = []): Promise<ImageRecord> {
    const record = await this.#serially(() => this.#publish(draft, image, new Set(damaged)))
    const { name, digest, kind, unpackedBytes } = record
    this.#parts.log.info({ image: name, digest, kind, layers: record.layers.length, unpackedBytes }, 'image.imported')
    return record
  }

  async #publish(draft: string, image: UnpackedImage, damaged: ReadonlySet<string>): Promise<ImageRecord> {
    const layers = await this.#files.publish(draft, image, damaged)
    const sum = (pick: (layer: UnpackedImage['layers'][number]) => number): number =>
      image.layers.reduce((all, layer) => all + pick(layer), 0)
    const { name, digest, configDigest, kind, archiveBytes, config } = image
    const record: ImageRecord = {
      ...{ name, digest, configDigest, kind, archiveBytes, config, layers },
      ...this.#signatures.known(image),
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

  #used(digest: string): void {
    this.#recent.set(digest, this.#parts.clock.monotonicMs() + recentMs)
    this.#lastUse.note(digest)
  }

  #recentDigests(): readonly string[] {
    const now = this.#parts.clock.monotonicMs()
    for (const [digest, untilMs] of this.#recent) if (now > untilMs) this.#recent.delete(digest)
    // One that is gone altogether needs no protection.
    return [...this.#recent.keys()].filter((digest) => existsSync(this.#files.path('blobs/sha256', hexOf(digest))))
  }

  /** Names and layers change one at a time. */
  #serially<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}

const isHost = (reference: string): boolean => reference === hostImageName || reference === `${hostImageName}:latest`
