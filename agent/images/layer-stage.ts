import { createHash, type Hash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { ByteSource } from './byte-source.ts'
import { plainTar } from './compression.ts'
import { ContentsWriter } from './layer-contents.ts'
import { type LayerFacts, LayerWriter, type Spent } from './layer-writer.ts'
import type { ImageLimits } from './limits.ts'
import { type TarEntry, TarReader } from './tar-reader.ts'
import type { UnpackedLayer } from './unpack-message.ts'

type Chunks = AsyncIterable<Uint8Array>

interface Place {
  /** Finished layers come to lie in its `layers/`. */
  readonly draft: string
  /** Where the store's layers lie: one that is there is not unpacked again. */
  readonly finished: string
  readonly limits: ImageLimits
  /** Of these the store's are damaged. */
  readonly anew?: readonly string[]
}

interface StagedFacts extends LayerFacts {
  /** The digest of the list of its contents. */
  readonly contents: string
}

/** The layers of one image on their way into its draft, each in a folder of its own until it is known to be what it should be. */
export class LayerStage {
  readonly spent: Spent = { bytes: 0, entries: 0 }
  readonly #place: Place
  readonly #onEntry: () => void
  readonly #done = new Map<string, UnpackedLayer>()
  readonly #fresh = new Map<string, UnpackedLayer>()
  #begun = 0

  constructor(place: Place, onEntry: () => void) {
    this.#place = place
    this.#onEntry = onEntry
  }

  /** Those that were finished here, and not before. */
  get fresh(): readonly UnpackedLayer[] {
    return [...this.#fresh.values()]
  }

  /** A layer that this image or another one has already. */
  known(diffId: string): UnpackedLayer | undefined {
    return this.#done.get(diffId) ?? this.#finished(diffId)
  }

  /** One layer over others, packed in any way. What comes out must have the digest `diffId`; `what` names it to people. */
  async stacked(diffId: string, packed: Chunks, what: string): Promise<UnpackedLayer> {
    const folder = this.newFolder()
    const hash = createHash('sha256')
    const source = new ByteSource(hashed(await plainTar(packed, this.#place.limits, what), hash))
    try {
      const facts = await this.write(folder, new TarReader(source, this.#place.limits, 'optional'), [], source, true)
      const found = `sha256:${hash.digest('hex')}`
      if (found !== diffId)
        throw new Fault('corrupt', `the image is damaged: ${what} has the digest ${found} instead of ${diffId}`)
      return this.settle(folder, diffId, facts)
    } catch (e) {
      for (const path of [folder, `${folder}.contents`]) fs.rmSync(path, { recursive: true, force: true })
      throw e
    }
  }

  newFolder(): string {
    this.#begun += 1
    return join(this.#place.draft, 'layers', `unfinished-${this.#begun}`)
  }

  /** `start`: entries that were read ahead of the others. */
  async write(
    folder: string,
    reader: TarReader,
    start: readonly TarEntry[],
    source: ByteSource,
    whiteouts: boolean
  ): Promise<StagedFacts> {
    fs.mkdirSync(folder, { mode: 0o755 })
    const contents = new ContentsWriter(`${folder}.contents`)
    const writer = new LayerWriter(folder, this.#place.limits, this.spent, contents, { whiteouts })
    try {
      for await (const entry of entriesOf(reader, start)) {
        await writer.add(entry, reader)
        this.#onEntry()
      }
      for await (const _ of source.rest());
      const facts = await writer.finish()
      return { ...facts, contents: contents.finish() }
    } catch (e) {
      await writer.abandon()
      contents.abandon()
      throw e
    }
  }

  settle(folder: string, diffId: string, facts: StagedFacts): UnpackedLayer {
    const final = join(this.#place.draft, 'layers', hexOf(diffId))
    const layer = { diffId, ...facts }
    fs.writeFileSync(`${final}.json`, JSON.stringify(layer), { mode: 0o600 })
    fs.renameSync(`${folder}.contents`, `${final}.contents`)
    fs.renameSync(folder, final)
    const { opaque: _, ...shown } = layer
    this.#done.set(diffId, shown)
    this.#fresh.set(diffId, shown)
    return shown
  }

  #finished(diffId: string): UnpackedLayer | undefined {
    const path = join(this.#place.finished, hexOf(diffId))
    if (this.#place.anew?.includes(diffId) === true || !fs.existsSync(path)) return undefined
    const { opaque: _, ...layer } = JSON.parse(fs.readFileSync(`${path}.json`, 'utf8')) as UnpackedLayer & { opaque: unknown }
    this.#done.set(diffId, layer)
    return layer
  }
}

/** Those already read, then the rest; the content belongs to the last one given out. */
export async function* entriesOf(reader: TarReader, start: readonly TarEntry[]): AsyncGenerator<TarEntry> {
  yield* start
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) yield entry
}

export async function* hashed(chunks: Chunks, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk)
    yield chunk
  }
}

const hexOf = (digest: string): string => digest.slice('sha256:'.length)
