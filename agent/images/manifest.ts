import { createHash } from 'node:crypto'
import { Fault } from '../../base/fault.ts'
import { canonicalReference, isDigest } from '../../proto/image-name.ts'
import { type HealthCheck, parseHealthCheck } from './health-check.ts'
import type { ImageLimits } from './limits.ts'

/** What a manifest says of one blob (OCI image spec, "Descriptor"). */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

export interface ImageConfig {
  readonly architecture: string
  readonly os: string
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
  /** Absent of images that an earlier version brought here. */
  readonly volumes?: readonly string[]
  readonly healthCheck?: HealthCheck
  readonly diffIds: readonly string[]
}

export interface Platform {
  readonly os: string
  readonly architecture: string
}

export interface IndexRow extends Descriptor {
  readonly platform: Platform | undefined
  readonly referenceName: string
  /** The image's whole name, where the one who wrote the archive left it. */
  readonly imageName: string
}

export interface DockerRow {
  readonly config: string
  readonly layers: readonly string[]
  readonly names: readonly string[]
}

type Json = Readonly<Record<string, unknown>>

const indexTypes = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json']
/** An index may name others; what needs more than this is made to do harm. */
export const maxIndexDepth = 4
const maxRows = 1_000
const maxTextBytes = 256 * 1024

export const isIndex = (descriptor: Descriptor): boolean => indexTypes.includes(descriptor.mediaType)

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export function parseIndex(bytes: Uint8Array, what: string): readonly IndexRow[] {
  return rows(object(bytes, what)['manifests'], what).map((row) => {
    const platform = asObject(row['platform'])
    const annotations = asObject(row['annotations'])
    return {
      ...descriptor(row, what),
      platform:
        platform === undefined ? undefined : { os: text(platform['os'], ''), architecture: text(platform['architecture'], '') },
      referenceName: text(annotations?.['org.opencontainers.image.ref.name'], ''),
      imageName: text(annotations?.['io.containerd.image.name'], '')
    }
  })
}

export function parseManifest(
  bytes: Uint8Array,
  what: string
): { readonly config: Descriptor; readonly layers: readonly Descriptor[] } {
  const manifest = object(bytes, what)
  const config = asObject(manifest['config'])
  if (config === undefined) throw senseless(what)
  return { config: descriptor(config, what), layers: rows(manifest['layers'], what).map((row) => descriptor(row, what)) }
}

/** Reads the parts of an image configuration that a container is made from; both OCI's and Docker's have them. */
export function parseConfig(bytes: Uint8Array, what: string): ImageConfig {
  const root = object(bytes, what)
  const config = asObject(root['config']) ?? {}
  const diffIds = texts(asObject(root['rootfs'])?.['diff_ids'], what)
  if (!diffIds.every(isDigest)) throw senseless(what)
  const healthCheck = parseHealthCheck(config['Healthcheck'])
  return {
    architecture: text(root['architecture'], ''),
    os: text(root['os'], ''),
    entrypoint: texts(config['Entrypoint'], what),
    command: texts(config['Cmd'], what),
    environment: texts(config['Env'], what).filter((pair) => pair.indexOf('=') > 0),
    workingDirectory: text(config['WorkingDir'], ''),
    user: text(config['User'], ''),
    stopSignal: text(config['StopSignal'], ''),
    volumes: volumesIn(config['Volumes'], what),
    ...(healthCheck === undefined ? {} : { healthCheck }),
    diffIds
  }
}

const volumesIn = (value: unknown, what: string): readonly string[] => texts(Object.keys(asObject(value) ?? {}), what)

export function parseDockerManifest(bytes: Uint8Array): readonly DockerRow[] {
  const what = 'manifest.json'
  return rows(parse(bytes, what), what).map((row) => ({
    config: text(row['Config'], ''),
    layers: texts(row['Layers'], what),
    names: texts(row['RepoTags'], what)
  }))
}

/** Throws `Fault('unsupported')` where the image is for another kind of machine; an image that does not say passes. */
function checkPlatform(found: Platform, wanted: Platform): void {
  const fits =
    (found.os === '' || found.os === wanted.os) && (found.architecture === '' || found.architecture === wanted.architecture)
  if (!fits) {
    throw new Fault(
      'unsupported',
      `the image is for ${found.os}/${found.architecture} and this node is ${wanted.os}/${wanted.architecture}: import the image for this platform`
    )
  }
}

/** The configuration of an image with so many layers. Throws the Fault that says why nothing can be run from it here. */
export function checkedConfig(
  bytes: Uint8Array,
  layers: number,
  { platform, limits }: { readonly platform: Platform; readonly limits: Pick<ImageLimits, 'layers'> }
): ImageConfig {
  const config = parseConfig(bytes, 'the configuration of the image')
  checkPlatform(config, platform)
  if (config.diffIds.length !== layers) {
    throw new Fault('corrupt', `the image is damaged: it has ${layers} layers, its configuration names ${config.diffIds.length}`)
  }
  if (layers === 0) throw new Fault('unsupported', 'the image has no layers: there is nothing to run in it')
  if (layers > limits.layers)
    throw new Fault('unsupported', `the image has ${layers} layers, more than ${limits.layers}: squash it first`)
  return config
}

/** The row for this platform, of those that carry the name or its tag where there are several images; never a guess between two. */
export function chooseRow(all: readonly IndexRow[], wanted: Platform, name: string, nested: boolean): IndexRow {
  const usable = all.filter((row) => row.platform === undefined || isSame(row.platform, wanted))
  const named = usable.filter((row) => name !== '' && isNamed(row, name))
  const [first, second] = named.length > 0 ? named : usable
  if (first === undefined) {
    const platforms = all.map((row) => `${row.platform?.os}/${row.platform?.architecture}`).slice(0, 8)
    throw new Fault(
      'unsupported',
      `the image has nothing for ${wanted.os}/${wanted.architecture}, only for ${platforms.join(', ') || 'no platform at all'}`
    )
  }
  if (second !== undefined && second.digest !== first.digest && !nested && named.length === 0) {
    throw several(usable.map((row) => row.referenceName))
  }
  return first
}

function isNamed(row: IndexRow, name: string): boolean {
  const tag = name.slice(name.lastIndexOf(':') + 1)
  return row.referenceName === tag || [row.referenceName, row.imageName].some((own) => canonicalReference(own) === name)
}

/** What a row of the top index calls its image: whole names only, as a tag alone is none. */
export function ownNameOf(row: IndexRow): string {
  if (row.imageName !== '') return row.imageName
  return /[:/]/.test(row.referenceName) ? row.referenceName : ''
}

export function chooseDockerRow(all: readonly DockerRow[], name: string): DockerRow {
  const named = all.filter((row) => row.names.some((own) => canonicalReference(own) === name))
  const [first, second] = named.length > 0 ? named : all
  if (first === undefined) throw new Fault('corrupt', 'the archive is damaged: its manifest.json names no image')
  if (second !== undefined && named.length === 0) throw several(all.flatMap((row) => row.names))
  return first
}

const several = (names: readonly string[]): Fault =>
  new Fault(
    'invalid',
    `the archive holds several images (${names.slice(0, 8).join(', ')}): import it under the name or tag of the one to take`
  )

/** A manifest and configuration for layers that came without, or in Docker's own form. The same layers give the same digest. */
export function makeManifest(config: Uint8Array, layers: readonly { readonly diffId: string; readonly bytes: number }[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: `sha256:${sha256Of(config)}`,
        size: config.length
      },
      layers: layers.map(({ diffId, bytes }) => ({
        mediaType: 'application/vnd.oci.image.layer.v1.tar',
        digest: diffId,
        size: bytes
      }))
    })
  )
}

export const makeConfig = (platform: Platform, diffIds: readonly string[]): Buffer =>
  Buffer.from(JSON.stringify({ ...platform, config: {}, rootfs: { type: 'layers', diff_ids: diffIds }, history: [] }))

const isSame = (a: Platform, b: Platform): boolean => a.os === b.os && a.architecture === b.architecture

const senseless = (what: string): Fault => new Fault('corrupt', `the image is damaged: ${what} makes no sense`)

function parse(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (cause) {
    throw new Fault('corrupt', `the image is damaged: ${what} is no JSON`, {}, cause)
  }
}

function object(bytes: Uint8Array, what: string): Json {
  const value = asObject(parse(bytes, what))
  if (value === undefined) throw senseless(what)
  return value
}

const asObject = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined

function rows(value: unknown, what: string): Json[] {
  if (!Array.isArray(value) || value.length > maxRows) throw senseless(what)
  return value.map((row) => {
    const found = asObject(row)
    if (found === undefined) throw senseless(what)
    return found
  })
}

function descriptor(row: Json, what: string): Descriptor {
  const { digest, size } = row
  if (typeof digest !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw senseless(what)
  if (!isDigest(digest))
    throw new Fault('unsupported', `${what} names a blob by ${digest.slice(0, 20)}…: only sha256 digests are understood`)
  return { mediaType: text(row['mediaType'], ''), digest, size }
}

const text = (value: unknown, otherwise: string): string =>
  typeof value === 'string' && value.length <= maxTextBytes && !value.includes('\0') ? value : otherwise

function texts(value: unknown, what: string): string[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value) || value.length > maxRows * 10) throw senseless(what)
  return value.map((row: unknown) => {
    if (typeof row !== 'string' || row.length > maxTextBytes || row.includes('\0')) throw senseless(what)
    return row
  })
}
