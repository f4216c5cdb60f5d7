import { readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import { draftOf, replaceFile } from '../../base/replace-file.ts'
import { canonicalReference } from '../../proto/image-name.ts'
import type { ImageConfig } from './manifest.ts'
import type { ImageSignature } from './signature.ts'
import type { ImageKind } from './unpack-message.ts'

/** One row of images.json. */
export interface ImageRecord {
  readonly name: string
  readonly digest: string
  readonly configDigest: string
  readonly kind: ImageKind
  readonly importedAtMs: number
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  readonly skippedDevices: number
  readonly skippedAttributes: number
  /** Lowest first. */
  readonly layers: readonly LayerRecord[]
  readonly config: ImageConfig
  /** By which digests it may have been signed; absent where that is its own alone. */
  readonly roots?: readonly string[]
  readonly signatures?: readonly ImageSignature[]
}

export interface LayerRecord {
  readonly diffId: string
  /** Its short name in `l/`. */
  readonly link: string
  readonly bytes: number
  readonly entries: number
  /** The digest of the list of its contents; layers of earlier versions have none. */
  readonly contents?: string
}

const formatVersion = 1

/** images.json: the names. Replaced as a whole, so that a reader and a crash see the old list or the new one. */
export class ImageList {
  readonly #path: string
  #records: ReadonlyMap<string, ImageRecord>
  /** Where an unreadable list was put aside; while it lies there nothing may be collected. */
  readonly damaged: string | undefined

  private constructor(path: string, records: ReadonlyMap<string, ImageRecord>, damaged: string | undefined) {
    this.#path = path
    this.#records = records
    this.damaged = damaged
  }

  static async open(directory: string): Promise<ImageList> {
    const path = join(directory, 'images.json')
    const aside = join(directory, 'images.json.damaged')
    // An agent was killed while it wrote the list.
    await rm(draftOf(path), { force: true })
    const left = await readFile(aside).then(
      () => aside,
      () => undefined
    )
    const text = await readFile(path, 'utf8').catch((e: unknown) => {
      if (errnoOf(e) === 'ENOENT') return JSON.stringify({ version: formatVersion, images: [] })
      throw e
    })
    const records = parseRecords(text)
    if (records !== undefined) return new ImageList(path, records, left)
    await rename(path, aside)
    return new ImageList(path, new Map(), aside)
  }

  get(name: string): ImageRecord | undefined {
    return this.#records.get(name)
  }

  withDigest(digest: string): ImageRecord | undefined {
    return this.all().find((record) => record.digest === digest)
  }

  all(): readonly ImageRecord[] {
    return [...this.#records.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  put(record: ImageRecord): Promise<void> {
    return this.#replace(new Map([...this.#records, [record.name, record]]))
  }

  delete(name: string): Promise<void> {
    return this.#replace(new Map([...this.#records].filter(([key]) => key !== name)))
  }

  async #replace(records: ReadonlyMap<string, ImageRecord>): Promise<void> {
    await replaceFile(this.#path, `${JSON.stringify({ version: formatVersion, images: [...records.values()] }, undefined, 1)}\n`)
    this.#records = records
  }
}

/** Undefined for a file that we did not write. */
function parseRecords(text: string): ReadonlyMap<string, ImageRecord> | undefined {
  try {
    const file = JSON.parse(text) as { version: number; images: ImageRecord[] }
    const sound =
      file.version === formatVersion && file.images.every((row) => typeof row.name === 'string' && row.layers.length > 0)
    if (!sound) return undefined
    const oldestFirst = [...file.images].sort((a, b) => a.importedAtMs - b.importedAtMs)
    // Names that an earlier agent kept as they came.
    return new Map(
      oldestFirst.map((row) => ({ ...row, name: canonicalReference(row.name) ?? row.name })).map((row) => [row.name, row])
    )
  } catch {
    // The caller puts the file aside, so nothing of it is lost.
    return undefined
  }
}
