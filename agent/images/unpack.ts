import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { canonicalReference } from '../../proto/image-name.ts'
import { ArchiveSpool, holdsBlobs } from './archive-spool.ts'
import { ByteSource } from './byte-source.ts'
import { plainTar } from './compression.ts'
import { entriesOf, hashed, LayerStage } from './layer-stage.ts'
import {
  checkedConfig,
  chooseDockerRow,
  chooseRow,
  type Descriptor,
  type ImageConfig,
  isIndex,
  makeConfig,
  makeManifest,
  maxIndexDepth,
  ownNameOf,
  parseConfig,
  parseDockerManifest,
  parseIndex,
  parseManifest,
  sha256Of
} from './manifest.ts'
import { putDocuments } from './put-documents.ts'
import { newImageName } from './reference.ts'
import { type TarEntry, TarReader } from './tar-reader.ts'
import type { ImportProgress, UnpackedImage, UnpackedLayer, UnpackRequest } from './unpack-message.ts'

type Chunks = AsyncIterable<Uint8Array>

const maxStartEntries = 8

/** One import, from the archive's bytes to finished layers and documents in the request's draft folder. Runs in the child. */
export class Unpacking {
  readonly #request: UnpackRequest
  readonly #report: (progress: ImportProgress) => void
  readonly #stage: LayerStage
  #archiveBytes = 0
  #layer = 0
  #layers = 0

  constructor(request: UnpackRequest, report: (progress: ImportProgress) => void) {
    this.#request = request
    this.#report = report
    this.#stage = new LayerStage(request, () => this.#tell('unpacking'))
  }

  async run(archive: Chunks): Promise<UnpackedImage> {
    for (const folder of ['layers', 'blobs', 'spool']) fs.mkdirSync(join(this.#request.draft, folder), { mode: 0o700 })
    const hash = createHash('sha256')
    const plain = hashed(await plainTar(this.#received(archive), this.#request.limits, 'the archive'), hash)
    const source = new ByteSource(plain)
    const reader = new TarReader(source, this.#request.limits, 'needed')
    const start: TarEntry[] = []
    const spools = await this.#isSpooled(reader, start)
    if (!spools) return this.#rootfs(reader, start, source, hash)
    const spool = await this.#spool(reader, start, source)
    const image = this.#isOci(spool) ? await this.#oci(spool) : await this.#docker(spool)
    fs.rmSync(join(this.#request.draft, 'spool'), { recursive: true })
    return image
  }

  /** Reads on until the kind is clear; only folders without content are held back for that. */
  async #isSpooled(reader: TarReader, start: TarEntry[]): Promise<boolean> {
    if (this.#request.kind !== 'auto') return this.#request.kind !== 'rootfs'
    for (;;) {
      const entry = await reader.next()
      if (entry === undefined) throw new Fault('invalid', 'the archive is empty: it holds no file')
      start.push(entry)
      const answer = holdsBlobs(entry.name)
      if (answer !== undefined || start.length > maxStartEntries) return answer === true
    }
  }

  async #rootfs(reader: TarReader, start: readonly TarEntry[], source: ByteSource, hash: Hash): Promise<UnpackedImage> {
    const name = this.#named('')
    this.#layer = 1
    this.#layers = 1
    const folder = this.#stage.newFolder()
    const facts = await this.#stage.write(folder, reader, start, source, false)
    const diffId = `sha256:${hash.digest('hex')}`
    if (facts.entries === 0) throw emptyRootfs(facts.skippedDevices)
    const layer = this.#stage.settle(folder, diffId, facts)
    const config = makeConfig(this.#request.platform, [diffId])
    return this.#image('rootfs', name, makeManifest(config, [layer]), config, [layer])
  }

  #isOci(spool: ArchiveSpool): boolean {
    const { kind } = this.#request
    if (kind === 'docker-archive') {
      if (!spool.has('manifest.json')) throw new Fault('invalid', 'this is no docker-archive: it has no manifest.json')
      return false
    }
    if (spool.has('oci-layout') && spool.has('index.json')) return true
    if (kind === 'oci' || !spool.has('manifest.json')) {
      throw new Fault('invalid', 'this is no image archive: it has neither oci-layout with index.json, nor manifest.json')
    }
    return false
  }

  async #spool(reader: TarReader, start: readonly TarEntry[], source: ByteSource): Promise<ArchiveSpool> {
    const spool = new ArchiveSpool(join(this.#request.draft, 'spool'), this.#request.limits)
    for await (const entry of entriesOf(reader, start)) await spool.add(entry, reader)
    for await (const _ of source.rest());
    return spool
  }

  async #oci(spool: ArchiveSpool): Promise<UnpackedImage> {
    const { platform, name } = this.#request
    const top = chooseRow(parseIndex(spool.document('index.json'), 'index.json'), platform, name, false)
    const ownName = this.#named(ownNameOf(top), top.referenceName)
    let row: Descriptor = top
    for (let depth = 0; isIndex(row); depth += 1) {
      if (depth === maxIndexDepth) throw new Fault('invalid', `the image index is nested more than ${maxIndexDepth} deep`)
      row = chooseRow(parseIndex(spool.documentOf(row), row.digest), platform, name, true)
    }
    const manifestBytes = spool.documentOf(row)
    const manifest = parseManifest(manifestBytes, row.digest)
    const configBytes = spool.documentOf(manifest.config)
    const config = this.#checkedConfig(configBytes, manifest.layers.length)
    const layers: UnpackedLayer[] = []
    for (const [at, descriptor] of manifest.layers.entries()) {
      if (descriptor.mediaType.endsWith('+encrypted')) throw new Fault('unsupported', 'the layers of the image are encrypted')
      layers.push(await this.#stackedLayer(config.diffIds[at] ?? '', () => spool.chunksOf(descriptor)))
    }
    return this.#image('oci', ownName, manifestBytes, configBytes, layers)
  }

  async #docker(spool: ArchiveSpool): Promise<UnpackedImage> {
    const { name } = this.#request
    const row = chooseDockerRow(parseDockerManifest(spool.document('manifest.json')), name)
    const ownName = this.#named(row.names[0] ?? '')
    const configBytes = spool.document(row.config)
    const declared = /([0-9a-f]{64})(\.json)?$/.exec(row.config)?.[1]
    if (declared !== undefined && declared !== sha256Of(configBytes)) {
      throw new Fault('corrupt', `the archive is damaged: the configuration ${row.config} has another digest than its name says`)
    }
    const config = this.#checkedConfig(configBytes, row.layers.length)
    const layers: UnpackedLayer[] = []
    for (const [at, path] of row.layers.entries()) {
      layers.push(await this.#stackedLayer(config.diffIds[at] ?? '', () => spool.member(path).chunks()))
    }
    return this.#image('docker-archive', ownName, makeManifest(configBytes, layers), configBytes, layers)
  }

  #checkedConfig(bytes: Buffer, layers: number): ImageConfig {
    this.#layers = layers
    return checkedConfig(bytes, layers, this.#request)
  }

  async #stackedLayer(diffId: string, chunks: () => Chunks): Promise<UnpackedLayer> {
    this.#layer += 1
    return this.#stage.known(diffId) ?? this.#stage.stacked(diffId, chunks(), `layer ${this.#layer} of the image`)
  }

  /** The name asked for, or else the archive's own. */
  #named(own: string, tag = ''): string {
    if (this.#request.name !== '') return this.#request.name
    if (own !== '' && canonicalReference(own) !== undefined) return newImageName(own)
    const said = JSON.stringify((own || tag).slice(0, 80))
    if (own !== '')
      throw new Fault('invalid', `the archive names its image ${said}, which is no name here: give one with --name NAME`)
    const what = tag === '' ? 'does not name its image' : `has only the tag ${said} for its image and no name`
    throw new Fault('invalid', `the archive ${what}: give one with --name NAME`)
  }

  #image(
    kind: UnpackedImage['kind'],
    name: string,
    manifest: Buffer,
    config: Buffer,
    layers: readonly UnpackedLayer[]
  ): UnpackedImage {
    putDocuments(this.#request.draft, [manifest, config])
    return {
      kind,
      name,
      digest: `sha256:${sha256Of(manifest)}`,
      configDigest: `sha256:${sha256Of(config)}`,
      config: parseConfig(config, 'the configuration of the image'),
      layers,
      archiveBytes: this.#archiveBytes
    }
  }

  async *#received(archive: Chunks): AsyncGenerator<Uint8Array> {
    const most = this.#request.limits.archiveBytes
    for await (const chunk of archive) {
      this.#archiveBytes += chunk.length
      if (this.#archiveBytes > most)
        throw new Fault('exhausted', `the archive is larger than ${most} bytes, which is the limit of this node`)
      this.#tell('reading')
      yield chunk
    }
  }

  #tell(phase: ImportProgress['phase']): void {
    this.#report({
      phase: this.#layer > 0 ? 'unpacking' : phase,
      archiveBytes: this.#archiveBytes,
      totalBytes: 0,
      unpackedBytes: this.#stage.spent.bytes,
      entries: this.#stage.spent.entries,
      layer: this.#layer,
      layers: this.#layers
    })
  }
}

type Hash = ReturnType<typeof createHash>

function emptyRootfs(skippedDevices: number): Fault {
  if (skippedDevices === 0) return new Fault('invalid', 'the archive is empty: it holds no file')
  const nodes = skippedDevices === 1 ? 'its one device node was' : `its ${skippedDevices} device nodes were`
  return new Fault(
    'invalid',
    `the archive holds nothing to run: ${nodes} left out, as containers get their own, and nothing else is in it`
  )
}
