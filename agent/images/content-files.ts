import { lstat, mkdir, readdir, readFile, readlink, rename, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { syncDirectory } from '../../base/replace-file.ts'
import type { ImageRecord, LayerRecord } from './image-list.ts'
import { parseConfig, parseManifest, sha256Of } from './manifest.ts'
import type { KeptLayers, UnpackedImage } from './unpack-message.ts'

/** mount(2) takes one page of options: what all lower directories together may take of it. */
export const maxLowerBytes = 3_600
/** What lies beside a layer: its facts, and the list of its contents. */
const notes = ['json', 'contents'] as const
const folders = ['blobs', 'blobs/sha256', 'layers', 'l', 'hosts', 'drafts', 'artifacts']

/**
 * The store's files: blobs/sha256/HEX, layers/HEX (a tree) with layers/HEX.json (its facts) and layers/HEX.contents, and l/SHORT, a link to each layer, short
 * because mount(2) has room for few long names.
 */
export class ContentFiles {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  async makeFolders(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    for (const folder of folders) await mkdir(join(this.directory, folder), { recursive: true, mode: 0o700 })
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts)
  }

  layerPath(diffId: string): string {
    return this.path('layers', hexOf(diffId))
  }

  /** Moves what is new out of the draft; all of it or, where that fails, nothing. What is `damaged` gives way to it. */
  async publish(draft: string, image: UnpackedImage, damaged: ReadonlySet<string> = new Set()): Promise<readonly LayerRecord[]> {
    const made: string[] = []
    try {
      for (const digest of damaged) await this.#setAside(draft, hexOf(digest))
      const layers: LayerRecord[] = []
      for (const { diffId, bytes, entries, contents } of image.layers) {
        const hex = hexOf(diffId)
        await this.#moveLayer(draft, hex, made)
        const link = await this.#link(hex, made)
        layers.push({ diffId, bytes, entries, link, ...(contents === undefined ? {} : { contents }) })
      }
      for (const digest of [image.digest, image.configDigest]) await this.#moveBlob(draft, hexOf(digest), made)
      for (const folder of ['layers', 'l', 'blobs/sha256']) await syncDirectory(this.path(folder))
      const lowerBytes = new Set(layers.map((layer) => layer.link)).size * (this.path('l').length + 14)
      if (lowerBytes > maxLowerBytes) {
        throw new Fault(
          'unsupported',
          `the image has ${layers.length} layers, more than one mount can name here: squash it first`
        )
      }
      return layers
    } catch (e) {
      for (const path of made.reverse()) await rm(path, { recursive: true, force: true })
      throw e
    }
  }

  /** Which of an image's documents are not what their digests say. */
  async damagedDocuments({ digest, configDigest }: ImageRecord): Promise<readonly string[]> {
    const damaged: string[] = []
    for (const document of [digest, configDigest]) {
      const bytes = await readFile(this.path('blobs/sha256', hexOf(document))).catch(() => undefined)
      if (bytes === undefined || sha256Of(bytes) !== hexOf(document)) damaged.push(document)
    }
    return damaged
  }

  /** Whether as much is in a layer as was unpacked; for layers without a list of their contents. */
  async isComplete({ link, entries }: LayerRecord): Promise<boolean> {
    const found = await countTree(this.path('l', link)).catch(() => undefined)
    return found?.entries === entries
  }

  /** The layers of an image that has lost its name, by way of its documents; undefined where these are gone. */
  async layersOf(digest: string): Promise<{ readonly configDigest: string; readonly diffIds: readonly string[] } | undefined> {
    const bytes = await readFile(this.path('blobs/sha256', hexOf(digest))).catch(() => undefined)
    if (bytes === undefined) return undefined
    const { config } = parseManifest(bytes, digest)
    const configBytes = await readFile(this.path('blobs/sha256', hexOf(config.digest))).catch(() => undefined)
    return configBytes === undefined
      ? undefined
      : { configDigest: config.digest, diffIds: parseConfig(configBytes, digest).diffIds }
  }

  /** Blobs and layers outside the two sets; nothing is removed yet. */
  async strays(keptBlobs: ReadonlySet<string>, keptLayers: ReadonlySet<string>): Promise<{ blobs: string[]; layers: string[] }> {
    const blobs = (await readdir(this.path('blobs/sha256'))).filter((hex) => !keptBlobs.has(`sha256:${hex}`))
    const names = (await readdir(this.path('layers'))).map((name) => name.replace(/\.(json|contents)$/, ''))
    return { blobs, layers: [...new Set(names)].filter((hex) => !keptLayers.has(`sha256:${hex}`)) }
  }

  removeBlob(hex: string): Promise<void> {
    return rm(this.path('blobs/sha256', hex), { force: true })
  }

  /** Takes a layer out of the store in one step; the tree itself goes to `grave`, to be removed at leisure. Tells its bytes. */
  async unlinkLayer(hex: string, grave: string): Promise<number> {
    const facts = await readFile(this.path('layers', `${hex}.json`), 'utf8').catch(() => '{}')
    for (const name of await readdir(this.path('l'))) {
      if (hex.startsWith(name) && (await readlink(this.path('l', name))) === linkTarget(hex)) await rm(this.path('l', name))
    }
    await rename(this.path('layers', hex), grave).catch((e: unknown) => {
      if (errnoOf(e) !== 'ENOENT') throw e
    })
    for (const note of notes) await rm(this.path('layers', `${hex}.${note}`), { force: true })
    return (JSON.parse(facts) as { bytes?: number }).bytes ?? 0
  }

  /** Layers of an image that is not whole, with the documents that name them. */
  async keep(draft: string, { digest, configDigest, layers }: KeptLayers): Promise<void> {
    for (const document of [digest, configDigest]) await this.#moveBlob(draft, hexOf(document), [])
    for (const { diffId } of layers) await this.#moveLayer(draft, hexOf(diffId), [])
    for (const folder of ['layers', 'blobs/sha256']) await syncDirectory(this.path(folder))
  }

  /** Into the draft, with which it goes. */
  async #setAside(draft: string, hex: string): Promise<void> {
    for (const folder of ['layers', 'blobs/sha256']) {
      await rename(this.path(folder, hex), join(draft, `damaged-${hex}`)).catch((e: unknown) => {
        if (errnoOf(e) !== 'ENOENT') throw e
      })
    }
  }

  async #moveLayer(draft: string, hex: string, made: string[]): Promise<void> {
    const final = this.path('layers', hex)
    if (await isThere(final)) return
    const fresh = join(draft, 'layers', hex)
    if (!(await isThere(fresh)))
      throw new Fault('unavailable', 'a layer was collected while the image was imported: import it again')
    for (const note of notes) {
      made.push(`${final}.${note}`)
      await rename(`${fresh}.${note}`, `${final}.${note}`)
    }
    made.push(final)
    await rename(fresh, final)
  }

  async #moveBlob(draft: string, hex: string, made: string[]): Promise<void> {
    const final = this.path('blobs/sha256', hex)
    if (await isThere(final)) return
    made.push(final)
    await rename(join(draft, 'blobs', hex), final)
  }

  async #link(hex: string, made: string[]): Promise<string> {
    for (const length of [12, 16, 24, 64]) {
      const name = hex.slice(0, length)
      const found = await readlink(this.path('l', name)).catch(() => undefined)
      if (found === linkTarget(hex)) return name
      if (found !== undefined) continue
      await symlink(linkTarget(hex), this.path('l', name))
      made.push(this.path('l', name))
      return name
    }
    throw new Error(`invariant broken: no free link for layer ${hex}`)
  }
}

export const hexOf = (digest: string): string => digest.slice('sha256:'.length)

const linkTarget = (hex: string): string => `../layers/${hex}`

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false
  )

async function countTree(root: string): Promise<{ readonly entries: number }> {
  let entries = 0
  const open = [root]
  await stat(root)
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    for (const entry of await readdir(Buffer.from(folder, 'latin1'), { withFileTypes: true, encoding: 'buffer' })) {
      entries += 1
      if (entry.isDirectory()) open.push(`${folder}/${entry.name.toString('latin1')}`)
    }
  }
  return { entries }
}
