import * as fs from 'node:fs'
import { join } from 'node:path'
import { Fault, isFault } from '../../../base/fault.ts'
import { dockerHub, remoteNameOf } from '../../../proto/image-name.ts'
import { LayerStage } from '../layer-stage.ts'
import { type Descriptor, sha256Of } from '../manifest.ts'
import { putDocuments } from '../put-documents.ts'
import type { ImageSignature } from '../signature.ts'
import type { ImportProgress, KeptLayers, PullRequest, PullSecrets, UnpackedImage, UnpackedLayer } from '../unpack-message.ts'
import { blobBytes } from './blob.ts'
import { type Documents, fetchDocuments } from './documents.ts'
import { RegistryHttp } from './http.ts'
import type { Session } from './session.ts'
import { fetchSignatures } from './signatures.ts'
import { type Source, sourcesOf } from './sources.ts'

/** More streams at once do not come faster over one wire. */
const layersAtOnce = 3
const signaturesMs = 10_000

interface Wanted {
  readonly diffId: string
  readonly blob: Descriptor
  readonly what: string
}

/** One pull, from a name to finished layers and documents in the request's draft folder. Runs in the child. */
export class Pulling {
  readonly #request: PullRequest
  readonly #secrets: PullSecrets
  readonly #report: (progress: ImportProgress) => void
  readonly #stage: LayerStage
  #documentsAre = { digest: '', configDigest: '' }
  #progress: ImportProgress = {
    ...{ phase: 'asking', archiveBytes: 0, totalBytes: 0, unpackedBytes: 0, entries: 0, layer: 0, layers: 0 }
  }

  constructor(request: PullRequest, secrets: PullSecrets, report: (progress: ImportProgress) => void) {
    this.#request = request
    this.#secrets = secrets
    this.#report = report
    this.#stage = new LayerStage(request, () => this.#tell({}))
  }

  async run(): Promise<UnpackedImage> {
    const { draft, name, registries } = this.#request
    for (const folder of ['layers', 'blobs']) fs.mkdirSync(join(draft, folder), { mode: 0o700 })
    const http = new RegistryHttp(registries, this.#secrets.proxy)
    const stop = new AbortController()
    try {
      this.#tell({})
      const sources = sourcesOf(remoteNameOf(name), registries, { http, secrets: this.#secrets })
      const { documents, session, others } = await this.#documents(sources, stop.signal)
      putDocuments(draft, [documents.manifest, documents.configBytes])
      this.#documentsAre = {
        digest: `sha256:${sha256Of(documents.manifest)}`,
        configDigest: `sha256:${sha256Of(documents.configBytes)}`
      }
      const signatures = this.#signatures(session, documents.roots, stop.signal)
      const layers = await this.#layers(documents, [async () => session, ...others], stop)
      return {
        kind: 'registry',
        name,
        ...this.#documentsAre,
        config: documents.config,
        layers,
        roots: documents.roots,
        signatures: await signatures,
        archiveBytes: documents.layers.reduce((sum, { size }) => sum + size, 0)
      }
    } finally {
      stop.abort()
      http.close()
    }
  }

  /**
   * What lies beside the image, so that a policy can be kept later without a network; for most images there is nothing. Asked for once
   * and not for long: where a signature is needed and not here, it is asked for again. Docker Hub counts such questions as pulls.
   */
  async #signatures(session: Session, roots: readonly string[], signal: AbortSignal): Promise<readonly ImageSignature[]> {
    const { name, limits, registries } = this.#request
    if (remoteNameOf(name).registry === dockerHub) return []
    const once = { limits, patience: { ...registries.patience, attempts: 1 } }
    try {
      return await fetchSignatures(session, roots, once, AbortSignal.any([signal, AbortSignal.timeout(signaturesMs)]))
    } catch {
      return [] // who needs one asks again, and is told why there is none
    }
  }

  /** Of a pull that failed: what is whole, and need not be fetched by the next try. */
  get kept(): KeptLayers | undefined {
    const layers = this.#stage.fresh
    return layers.length === 0 ? undefined : { ...this.#documentsAre, layers }
  }

  /** From the first source that has them. What the last one says, the registry itself, is what counts where none has. */
  async #documents(
    sources: readonly Source[],
    signal: AbortSignal
  ): Promise<{ readonly documents: Documents; readonly session: Session; readonly others: readonly Source[] }> {
    const { name, platform, limits, registries } = this.#request
    const wanted = { name: remoteNameOf(name), platform, limits, patience: registries.patience }
    for (const [at, source] of sources.entries()) {
      try {
        const session = await source(signal)
        return { documents: await fetchDocuments(session, wanted, signal), session, others: sources.slice(at + 1) }
      } catch (e) {
        if (!isFault(e) || at === sources.length - 1) throw this.#told(e)
      }
    }
    throw new Error('invariant broken: no source was asked')
  }

  async #layers({ config, layers }: Documents, sources: readonly Source[], stop: AbortController): Promise<UnpackedLayer[]> {
    const all = layers.map((blob, at): Wanted => {
      return { diffId: config.diffIds[at] ?? '', blob, what: `layer ${at + 1} of the image` }
    })
    const absent = [...new Map(all.map((layer) => [layer.diffId, layer])).values()].filter(
      ({ diffId }) => this.#stage.known(diffId) === undefined
    )
    const totalBytes = absent.reduce((sum, { blob }) => sum + blob.size, 0)
    this.#checkRoom(totalBytes)
    const distinct = new Set(config.diffIds).size
    this.#tell({ phase: 'pulling', totalBytes, layers: distinct, layer: distinct - absent.length })
    const queue = [...absent]
    const work = async (): Promise<void> => {
      for (let layer = queue.shift(); layer !== undefined; layer = queue.shift()) {
        await this.#layer(layer, sources, stop.signal)
        this.#tell({ layer: this.#progress.layer + 1 })
      }
    }
    const workers = Array.from({ length: Math.min(layersAtOnce, absent.length) }, () =>
      work().catch((e: unknown) => {
        stop.abort(e)
        throw e
      })
    )
    const failed = (await Promise.allSettled(workers)).some(({ status }) => status === 'rejected')
    // The first failure is the reason why the others stopped.
    if (failed) throw this.#told(stop.signal.reason)
    return all.map(({ diffId }) => this.#stage.known(diffId) ?? missing(diffId))
  }

  /** A source that sends what is not asked for is left for the next one. */
  async #layer({ diffId, blob, what }: Wanted, sources: readonly Source[], signal: AbortSignal): Promise<void> {
    for (const [at, source] of sources.entries()) {
      try {
        const session = await source(signal)
        await this.#stage.stacked(diffId, this.#counted(session, blob, signal), what)
        return
      } catch (e) {
        signal.throwIfAborted()
        if (!isFault(e) || at === sources.length - 1) throw e
      }
    }
  }

  async *#counted(session: Session, blob: Descriptor, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of blobBytes(session, blob, this.#request.registries.patience, signal)) {
      this.#tell({ archiveBytes: this.#progress.archiveBytes + chunk.length })
      yield chunk
    }
  }

  #checkRoom(bytes: number): void {
    const { draft, limits } = this.#request
    if (bytes > limits.archiveBytes)
      throw new Fault(
        'exhausted',
        `the image has ${bytes} bytes to fetch, more than the ${limits.archiveBytes} that this node takes`
      )
    const disk = fs.statfsSync(draft)
    const free = disk.bavail * disk.bsize
    if (free - bytes < limits.reserveBytes)
      throw new Fault(
        'exhausted',
        `no space left for the image: it has ${bytes} bytes to fetch, ${free} are free, and ${limits.reserveBytes} must stay so`
      )
  }

  #told(e: unknown): unknown {
    if (!isFault(e)) return e
    return new Fault(e.code, `${this.#request.name} cannot be pulled: ${e.message}`, e.detail, e)
  }

  #tell(more: Partial<ImportProgress>): void {
    const { bytes: unpackedBytes, entries } = this.#stage.spent
    this.#progress = { ...this.#progress, unpackedBytes, entries, ...more }
    this.#report(this.#progress)
  }
}

function missing(diffId: string): never {
  throw new Error(`invariant broken: layer ${diffId} was not unpacked`)
}
