import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Exec } from '../../base/exec.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import type { ContentFiles } from './content-files.ts'
import type { ImageLimits } from './limits.ts'
import type { Platform } from './manifest.ts'
import type { ProxySettings } from './registry/proxy.ts'
import type { ImageSignature } from './signature.ts'
import { endLeftChild, runUnpackChild } from './unpack-child.ts'
import type {
  ArtifactCopyRequest,
  ArtifactRequest,
  DamagedLayer,
  FetchedArtifact,
  ImportProgress,
  KeptLayers,
  LayerToVerify,
  PullRequest,
  PullSecrets,
  ShiftedLayer,
  ShiftRequest,
  SignaturesRequest,
  UnpackedImage,
  UnpackRequest
} from './unpack-message.ts'

type OnProgress = (progress: ImportProgress) => void
/** A request without what is the same in every one. */
type TaskOf<R extends UnpackRequest | PullRequest> = Omit<R, 'draft' | 'finished' | 'platform' | 'limits'>

interface ImageWorkParts {
  readonly exec: Exec
  readonly log: Log
  readonly files: ContentFiles
}

interface ImageWorkConfig {
  readonly unpackProgram: readonly string[]
  readonly limits: ImageLimits
  readonly proxy?: ProxySettings | undefined
}

const removeTimeoutMs = 600_000
const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  riscv64: 'riscv64',
  s390x: 's390x',
  ppc64: 'ppc64le'
}

/** What children do for the store, each in a draft folder of its own that is gone when the work is over. */
export class ImageWork {
  readonly #parts: ImageWorkParts
  readonly #config: ImageWorkConfig

  constructor(parts: ImageWorkParts, config: ImageWorkConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Removes what an earlier agent left half done. */
  async sweep(): Promise<void> {
    const { files, log } = this.#parts
    const drafts = (await readdir(files.path('drafts'))).map((name) => files.path('drafts', name))
    for (const draft of drafts) await endLeftChild(draft)
    const hosts = (await readdir(files.path('hosts'))).filter((name) => name.includes('.'))
    for (const path of [...drafts, ...hosts.map((name) => files.path('hosts', name))]) {
      await this.discard(path)
      log.info({ path }, 'image.draft_removed')
    }
  }

  /** `publish` gets the child's result while its draft is there. `input` is what the child reads. */
  make<T>(
    request: TaskOf<UnpackRequest> | TaskOf<PullRequest>,
    source: {
      readonly input: AsyncIterable<Uint8Array>
      readonly onProgress: OnProgress
      readonly onKept?: (draft: string, kept: KeptLayers) => Promise<void>
    },
    publish: (draft: string, image: UnpackedImage) => Promise<T>,
    signal: AbortSignal
  ): Promise<T> {
    const { files, log } = this.#parts
    const { unpackProgram, limits } = this.#config
    const { input: archive, onProgress, onKept } = source
    return this.#inDraft(async (draft) => {
      const whole = { ...{ draft, finished: files.path('layers'), platform: platform(), limits }, ...request }
      const ears = { archive, onProgress, ...(onKept === undefined ? {} : { onKept: (kept: KeptLayers) => onKept(draft, kept) }) }
      const image = await runUnpackChild(unpackProgram, whole, ears, log, signal)
      return publish(draft, image as UnpackedImage)
    })
  }

  verify(layers: readonly LayerToVerify[], onProgress: OnProgress, signal: AbortSignal): Promise<readonly DamagedLayer[]> {
    return this.#inDraft(async (draft) => {
      const source = { archive: asInput(''), onProgress }
      const found = await runUnpackChild(
        this.#config.unpackProgram,
        { task: 'verify', draft, layers },
        source,
        this.#parts.log,
        signal
      )
      return found as readonly DamagedLayer[]
    })
  }

  /** Rejects with a Fault where the image's registry cannot be asked. */
  askForSignatures(
    request: Omit<SignaturesRequest, 'task' | 'draft' | 'limits'>,
    signal: AbortSignal
  ): Promise<readonly ImageSignature[]> {
    return this.#inDraft(async (draft) => {
      const { unpackProgram, limits } = this.#config
      const source = { archive: this.secretly({}), onProgress: () => undefined }
      const whole = { task: 'signatures', draft, limits, ...request } as const
      return (await runUnpackChild(unpackProgram, whole, source, this.#parts.log, signal)) as readonly ImageSignature[]
    })
  }

  fetchArtifact<T>(
    request: Omit<ArtifactRequest, 'task' | 'draft' | 'limits'>,
    keep: (draft: string, fetched: FetchedArtifact) => Promise<T>,
    signal: AbortSignal
  ): Promise<T> {
    return this.#inDraft(async (draft) => {
      const { unpackProgram, limits } = this.#config
      const source = { archive: this.secretly({}), onProgress: () => undefined }
      const whole = { task: 'artifact', draft, limits, ...request } as const
      return keep(draft, (await runUnpackChild(unpackProgram, whole, source, this.#parts.log, signal)) as FetchedArtifact)
    })
  }

  /** `target` must not be there, and its folder must. */
  copyArtifact(
    request: Omit<ArtifactCopyRequest, 'task' | 'draft' | 'limits'>,
    target: string,
    signal: AbortSignal
  ): Promise<void> {
    return this.#inDraft(async (draft) => {
      const { unpackProgram, limits } = this.#config
      const whole = { task: 'artifact-copy', draft, limits, ...request } as const
      await runUnpackChild(unpackProgram, whole, { archive: asInput(''), onProgress: () => undefined }, this.#parts.log, signal)
      await rename(join(draft, 'out'), target)
    })
  }

  /** What a pull needs and no argument may hold, as the input of its child. */
  secretly(secrets: PullSecrets): AsyncIterable<Uint8Array> {
    const { proxy } = this.#config
    return asInput(JSON.stringify({ ...secrets, ...(proxy === undefined ? {} : { proxy }) }))
  }

  /** To be done by a program that runs in a mount namespace of its own. `publish`: as of `make`. */
  shift<T>(
    request: Omit<ShiftRequest, 'draft' | 'task'>,
    publish: (draft: string, layer: ShiftedLayer) => Promise<T>,
    signal: AbortSignal
  ): Promise<T> {
    const { unpackProgram } = this.#config
    return this.#inDraft(async (draft) => {
      const source = { archive: asInput(''), onProgress: () => undefined }
      const whole = { ...request, task: 'shift', draft } as const
      return publish(draft, (await runUnpackChild(unpackProgram, whole, source, this.#parts.log, signal)) as ShiftedLayer)
    })
  }

  /** Through `rm`: a large tree would keep the agent's thread pool busy. */
  async discard(path: string): Promise<void> {
    const { exec, log } = this.#parts
    const result = await exec.run(
      'rm',
      ['--recursive', '--force', '--one-file-system', '--', path],
      { timeoutMs: removeTimeoutMs },
      new AbortController().signal
    )
    if (result.code !== 0) log.warn({ path, stderr: result.stderr.slice(0, 200) }, 'image.discard_failed')
  }

  async #inDraft<T>(work: (draft: string) => Promise<T>): Promise<T> {
    const draft = this.#parts.files.path('drafts', randomId())
    try {
      await mkdir(draft, { mode: 0o700 })
      return await work(draft)
    } catch (e) {
      if (errnoOf(e) === 'ENOSPC') throw new Fault('exhausted', 'no space left on the disk to keep the image', {}, e)
      throw e
    } finally {
      await this.discard(draft)
    }
  }
}

const asInput = (text: string): AsyncIterable<Uint8Array> => Readable.from([Buffer.from(text)])

const platform = (): Platform => ({ os: 'linux', architecture: architectures[process.arch] ?? process.arch })
