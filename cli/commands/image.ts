import { createReadStream, existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Image } from '../../sdk/image-messages.ts'
import type { OperatorClient } from '../../sdk/operator-client.ts'
import { parseDuration, showBytes, showDuration } from '../amounts.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { startProgress } from '../output/progress.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { forEach } from './task-move.ts'

export interface ImageOptions extends CommonOptions {
  readonly node?: string
}

interface ImportOptions extends ImageOptions {
  readonly name?: string
  readonly kind: string
}

export async function importImage(context: Context, path: string, options: ImportOptions): Promise<number> {
  const client = context.client(options)
  const archive = await openArchive(context, path)
  const node = await nodeFor(client, options, context.signal)
  const { stdout, stderr } = context.streams
  const progress = startProgress(stderr)
  try {
    const query = { name: options.name, kind: archive.kind ?? options.kind }
    for await (const part of await client.nodes.importImage(node, query, archive.bytes, context.signal)) {
      if (part.kind === 'progress') progress.show(showProgress(part.value as ImportProgress))
      if (part.kind !== 'end') continue
      progress.clear()
      const image = part.ending.image as Image | undefined
      if (options.json === true) stdout.write(`${JSON.stringify(image ?? null)}\n`)
      else stdout.write(`${image?.name ?? options.name ?? path}\n`)
    }
    return 0
  } finally {
    progress.clear()
  }
}

interface ImportProgress {
  readonly phase: string
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  readonly layer: number
  readonly layers: number
}

function showProgress({ phase, archiveBytes, unpackedBytes, entries, layer, layers }: ImportProgress): string {
  const which = layers > 1 ? ` layer ${layer} of ${layers}` : ''
  return `${phase}${which}: ${showBytes(archiveBytes)} read, ${showBytes(unpackedBytes)} in ${entries} files written`
}

interface Archive {
  readonly bytes: AsyncIterable<Uint8Array>
  /** Set where the path alone tells. */
  readonly kind?: string
}

async function openArchive(context: Context, path: string): Promise<Archive> {
  if (path === '-') return { bytes: context.streams.stdin as unknown as AsyncIterable<Uint8Array> }
  try {
    if (!statSync(path).isDirectory()) return { bytes: createReadStream(path, { highWaterMark: 256 * 1024 }) }
  } catch (e) {
    throw new Fault('not-found', `${path} cannot be read (${errnoOf(e) ?? String(e)})`, { path }, e)
  }
  if (!existsSync(join(path, 'oci-layout'))) {
    const hint = `a root file system is imported as a tar, made with tar -C ${path} -cf image.tar .`
    throw new Fault('invalid', `${path} is a folder, but no OCI image layout: it holds no file oci-layout; ${hint}`, { path })
  }
  const { packFolder } = await import('../local-archive.ts')
  return { bytes: packFolder(path, ''), kind: 'oci' }
}

interface ListOptions extends ImageOptions {
  readonly quiet?: boolean
}

export async function listImages(context: Context, options: ListOptions): Promise<number> {
  const client = context.client(options)
  const images = await client.nodes.images(await nodeFor(client, options, context.signal), context.signal)
  const { stdout } = context.streams
  if (options.quiet === true && options.json !== true) {
    await writeOut(stdout, images.map((image) => `${image.name}\n`).join(''))
    return 0
  }
  const nowMs = Date.now()
  const table = (): string =>
    renderTable(
      [
        { title: 'IMAGE', value: (image: Image) => image.name, shrinks: true },
        { title: 'DIGEST', value: (image) => image.digest.replace(/^(sha256:)?([0-9a-f]{12})[0-9a-f]*$/, '$2') },
        { title: 'SIZE', value: (image) => (image.kind === 'host' ? '' : showBytes(image.unpackedBytes)), align: 'right' },
        { title: 'IMPORTED', value: (image) => (image.importedAtMs ? `${showDuration(nowMs - image.importedAtMs)} ago` : '') }
      ],
      images,
      widthOf(stdout)
    )
  await writeOut(stdout, options.json === true ? `${JSON.stringify(images, null, 2)}\n` : table())
  return 0
}

export async function showImage(context: Context, name: string, options: ImageOptions): Promise<number> {
  const client = context.client(options)
  const image = await client.nodes.image(await nodeFor(client, options, context.signal), name, context.signal)
  const { stdout } = context.streams
  const left = [
    image.skippedDevices > 0 ? `${image.skippedDevices} device nodes` : '',
    image.skippedAttributes > 0 ? `${image.skippedAttributes} attributes` : ''
  ]
  const facts = [
    ['Image', image.name],
    ['Digest', image.digest],
    ['Kind', image.kind],
    ['Entrypoint', image.entrypoint.join(' ')],
    ['Command', image.command.join(' ')],
    ['Environment', image.environment.join(' ')],
    ['Working folder', image.workingDirectory],
    ['User', image.user],
    ['Stop signal', image.stopSignal],
    ['Volumes', image.volumes?.join(' ') ?? ''],
    ['Health check', image.healthCheck?.command.join(' ') ?? ''],
    [
      'Size',
      image.kind === 'host' ? '' : `${showBytes(image.unpackedBytes)} in ${image.entries} entries, ${image.layers} layers`
    ],
    ['Views', image.views === undefined || image.views === 0 ? '' : `${image.views} of its layers for user namespaces`],
    ['Archive', image.kind === 'host' ? '' : showBytes(image.archiveBytes)],
    ['Left out', left.filter((text) => text !== '').join(', ')],
    ['Imported', image.importedAtMs === 0 ? '' : new Date(image.importedAtMs).toISOString()]
  ] as const
  await writeOut(stdout, options.json === true ? `${JSON.stringify(image, null, 2)}\n` : renderFacts(facts))
  return 0
}

export async function removeImages(context: Context, names: readonly string[], options: ImageOptions): Promise<number> {
  const client = context.client(options)
  const node = await nodeFor(client, options, context.signal)
  return forEach(context, names, async (name) => {
    await client.nodes.removeImage(node, name, context.signal)
    return name
  })
}

export async function collectImages(context: Context, options: ImageOptions): Promise<number> {
  const client = context.client(options)
  const { collected } = await client.nodes.collectImages(await nodeFor(client, options, context.signal), context.signal)
  const { stdout } = context.streams
  if (options.json === true) stdout.write(`${JSON.stringify(collected)}\n`)
  else stdout.write(`removed ${collected.layers} layers and ${collected.blobs} blobs, ${showBytes(collected.bytes)}\n`)
  return 0
}

interface PruneOptions extends ImageOptions {
  readonly unusedFor?: string
  readonly imported?: boolean
}

export async function pruneImages(context: Context, options: PruneOptions): Promise<number> {
  const unusedMs = options.unusedFor === undefined ? 0 : parseDuration('--unused-for', options.unusedFor)
  const client = context.client(options)
  const node = await nodeFor(client, options, context.signal)
  const { pruned } = await client.nodes.pruneImages(node, { unusedMs, imported: options.imported === true }, context.signal)
  const { stdout } = context.streams
  const images = pruned.images.map((name) => `${name}\n`).join('')
  const sum = `removed ${pruned.images.length} images with ${pruned.layers} layers, ${showBytes(pruned.bytes)}\n`
  await writeOut(stdout, options.json === true ? `${JSON.stringify(pruned)}\n` : `${images}${sum}`)
  return 0
}

/** Images lie on nodes. Where there is one node there is nothing to choose. */
export async function nodeFor(client: OperatorClient, options: ImageOptions, signal: AbortSignal): Promise<string> {
  if (options.node !== undefined) return options.node
  const nodes = (await client.nodes.list(signal)).filter((node) => node.connected)
  const [only] = nodes
  if (only === undefined) throw new Fault('unavailable', 'no node is connected; see hearth node list')
  if (nodes.length === 1) return only.nodeId
  throw new Fault('invalid', `there are ${nodes.length} nodes; say which with --node (hearth node list)`)
}
