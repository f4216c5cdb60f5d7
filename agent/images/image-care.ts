import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { ContentFiles } from './content-files.ts'
import type { ImageRecord } from './image-list.ts'
import type { ImageWork } from './image-work.ts'
import type { Suspicion } from './suspicion.ts'
import type { ImportProgress } from './unpack-message.ts'
import { damageOf, digestsOf, type Verdict } from './verdict.ts'

export interface VerifyOptions {
  readonly repair: boolean
  /** Digests of images that containers run from. */
  readonly inUse: ReadonlySet<string>
  readonly onProgress: (progress: ImportProgress) => void
}

/** Pulls these of an image's layers and documents anew. */
export type Repull = (
  record: ImageRecord,
  damaged: readonly string[],
  onProgress: VerifyOptions['onProgress'],
  signal: AbortSignal
) => Promise<ImageRecord>

interface ImageCareParts {
  readonly files: ContentFiles
  readonly work: Pick<ImageWork, 'verify'>
  readonly suspicion: Suspicion
  readonly log: Log
  readonly repull: Repull
}

/** Finds what of an image is damaged, and has it pulled anew. */
export class ImageCare {
  readonly #parts: ImageCareParts
  readonly #looking = new Map<string, Promise<void>>()

  constructor(parts: ImageCareParts) {
    this.#parts = parts
  }

  async verify(record: ImageRecord, { repair, inUse, onProgress }: VerifyOptions, signal: AbortSignal): Promise<Verdict> {
    const { files, work, log } = this.#parts
    const look = (of: ImageRecord) => damageOf(files, of, (layers) => work.verify(layers, onProgress, signal))
    const { name: image, digest } = record
    const damage = await look(record)
    const verdict = { image, digest, layers: record.layers.length, damage, repaired: false }
    if (damage.length === 0 || !repair) return verdict
    if (record.kind !== 'registry')
      throw new Fault('unsupported', `${image} did not come from a registry: remove it and import it again`)
    if (inUse.has(digest))
      throw new Fault('conflict', `${image} is in use by a container: end the container first, then repair it`)
    const left = await look(await this.#parts.repull(record, digestsOf(damage), onProgress, signal))
    log.info({ image, digest, damaged: damage.length, left: left.length }, 'image.repaired')
    return left.length === 0 ? { ...verdict, repaired: true } : { ...verdict, damage: left }
  }

  /**
   * Before its first use after the machine went down without a word: looks at every byte, once for all who wait. Throws
   * `Fault('corrupt')` where it is damaged and no registry can help.
   */
  async settle(record: ImageRecord, onProgress: VerifyOptions['onProgress'], signal: AbortSignal): Promise<void> {
    const { suspicion } = this.#parts
    const layers = record.layers.map(({ diffId }) => diffId)
    while (suspicion.some(layers)) {
      signal.throwIfAborted()
      const others = this.#looking.get(record.digest)
      if (others !== undefined) {
        await others.catch(() => undefined) // who looks tells; what is left is looked at again
        continue
      }
      const looked = this.#settled(record, layers, onProgress, signal).finally(() => this.#looking.delete(record.digest))
      this.#looking.set(record.digest, looked)
      await looked
    }
  }

  async #settled(
    record: ImageRecord,
    layers: readonly string[],
    onProgress: VerifyOptions['onProgress'],
    signal: AbortSignal
  ): Promise<void> {
    const { suspicion, log } = this.#parts
    const options = { repair: record.kind === 'registry', inUse: new Set<string>(), onProgress }
    const { damage, repaired } = await this.verify(record, options, signal)
    if (damage.length > 0 && !repaired) {
      throw new Fault(
        'corrupt',
        `the image ${record.name} is damaged, which the machine’s last fall may have done (hearth image verify tells where): remove it and import it again`
      )
    }
    log.info({ image: record.name, layers: layers.length, repaired }, 'image.looked_at')
    await suspicion.clear(layers)
  }
}
