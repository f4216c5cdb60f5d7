import { Fault } from '../../../base/fault.ts'
import type { RemoteName } from '../../../proto/image-name.ts'
import type { ImageLimits } from '../limits.ts'
import {
  checkedConfig,
  chooseRow,
  type Descriptor,
  type ImageConfig,
  maxIndexDepth,
  type Platform,
  parseIndex,
  parseManifest,
  sha256Of
} from '../manifest.ts'
import { blobBytes } from './blob.ts'
import { shortBody } from './http.ts'
import { patiently, type Session } from './session.ts'
import type { Patience } from './settings.ts'

/** What an image consists of, every document checked against its digest. */
export interface Documents {
  /** Digests of the manifest and, above it, of the indexes through which the name led to it. */
  readonly roots: readonly string[]
  readonly manifest: Buffer
  readonly configBytes: Buffer
  readonly config: ImageConfig
  /** Lowest first, as many as the configuration names. */
  readonly layers: readonly Descriptor[]
}

interface Wanted {
  readonly name: RemoteName
  readonly platform: Platform
  readonly limits: ImageLimits
  readonly patience: Patience
}

const indexTypes = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json']
const manifestTypes = ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json']
const configTypes = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json']
const firstFormat = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/
/** image-spec 1.1, "Media Types", and Docker's; what it is really packed with is seen from its first bytes. */
const layerType =
  /^application\/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)$/

/** From the reference to the manifest for this platform, by way of an index where there is one, and its configuration. */
export async function fetchDocuments(session: Session, wanted: Wanted, signal: AbortSignal): Promise<Documents> {
  const { name, platform, limits, patience } = wanted
  let document = await fetchDocument(session, wanted, { reference: name.reference, digest: name.digest }, signal)
  const roots = [digestOf(document)]
  for (let depth = 0; indexTypes.includes(document.mediaType); depth += 1) {
    if (depth === maxIndexDepth) throw new Fault('invalid', `the image index is nested more than ${maxIndexDepth} deep`)
    const row = chooseRow(parseIndex(document.bytes, 'the image index'), platform, '', true)
    document = await fetchDocument(session, wanted, { reference: row.digest, digest: row.digest, size: row.size }, signal)
    roots.unshift(digestOf(document))
  }
  if (!manifestTypes.includes(document.mediaType)) throw unknownType(document.mediaType)
  const { config, layers } = parseManifest(document.bytes, 'the manifest')
  const strange = layers.find(({ mediaType }) => !layerType.test(mediaType))
  if (!configTypes.includes(config.mediaType)) throw noImage('configuration', config.mediaType)
  if (strange?.mediaType.endsWith('+encrypted') === true) throw new Fault('unsupported', 'the layers of the image are encrypted')
  if (strange !== undefined) throw noImage('layer', strange.mediaType)
  if (config.size > limits.documentBytes)
    throw new Fault('invalid', `the configuration of the image is larger than ${limits.documentBytes} bytes`)
  const parts: Buffer[] = []
  for await (const chunk of blobBytes(session, config, patience, signal)) parts.push(chunk)
  const configBytes = Buffer.concat(parts)
  return { roots, manifest: document.bytes, configBytes, config: checkedConfig(configBytes, layers.length, wanted), layers }
}

const digestOf = ({ bytes }: Document): string => `sha256:${sha256Of(bytes)}`

interface DocumentWanted {
  readonly reference: string
  readonly digest: string | undefined
  readonly size?: number
}

interface Document {
  readonly mediaType: string
  readonly bytes: Buffer
}

async function fetchDocument(session: Session, wanted: Wanted, what: DocumentWanted, signal: AbortSignal): Promise<Document> {
  const { limits, patience } = wanted
  const accept = [...manifestTypes, ...indexTypes].join(', ')
  const { headers, bytes } = await patiently(patience, signal, async () => {
    const answer = await session.get(`manifests/${what.reference}`, { accept }, signal)
    return { headers: answer.headers, bytes: await shortBody(answer, limits.documentBytes, patience) }
  })
  const found = `sha256:${sha256Of(bytes)}`
  const told = headers['docker-content-digest']
  const expected = what.digest ?? (typeof told === 'string' && told.startsWith('sha256:') ? told : found)
  if (found !== expected)
    throw new Fault(
      'corrupt',
      `${session.host} sends another manifest than the one asked for: its digest is ${found} instead of ${expected.slice(0, 80)}`
    )
  if (what.size !== undefined && what.size !== bytes.length)
    throw new Fault(
      'corrupt',
      `${session.host} sends ${bytes.length} bytes for the manifest ${found}, and its index says ${what.size}`
    )
  return { mediaType: mediaTypeOf(bytes, (headers['content-type'] ?? '').split(';', 1)[0]?.trim() ?? ''), bytes }
}

/**
 * What a document is must be beyond doubt: one that could be read as an index and as a manifest could be two images to two readers
 * (image-spec, advisory GHSA-77vh-xpmg-72qh).
 */
function mediaTypeOf(bytes: Buffer, header: string): string {
  const value = parsed(bytes)
  const said = typeof value['mediaType'] === 'string' ? value['mediaType'] : ''
  const isIndex = 'manifests' in value
  if (value['schemaVersion'] === 1 || firstFormat.test(said || header)) throw tooOld()
  if (isIndex && ('config' in value || 'layers' in value)) throw damaged('its manifest could also be read as an index')
  const type = agreedType(said, header) || ((isIndex ? indexTypes : manifestTypes)[0] ?? '')
  if (isKnown(type) && isIndex !== indexTypes.includes(type))
    throw damaged(`its manifest is not the ${type} that it is said to be`)
  return type
}

/** What the document says of itself, or else the registry; empty where neither does. */
function agreedType(said: string, header: string): string {
  if (!isKnown(header)) return said
  if (said !== '' && said !== header)
    throw damaged(`its manifest calls itself ${said.slice(0, 80)}, and the registry calls it ${header}`)
  return header
}

const isKnown = (type: string): boolean => indexTypes.includes(type) || manifestTypes.includes(type)
const damaged = (how: string): Fault => new Fault('corrupt', `the image is damaged: ${how}`)

function parsed(bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>
  } catch (cause) {
    throw new Fault('corrupt', 'the image is damaged: its manifest is no JSON', {}, cause)
  }
  throw new Fault('corrupt', 'the image is damaged: its manifest makes no sense')
}

const tooOld = (): Fault =>
  new Fault('unsupported', 'the image is in Docker’s first format of 2014: push it again with a newer program')

const unknownType = (mediaType: string): Fault =>
  new Fault('unsupported', `what lies there is no image but ${JSON.stringify(mediaType.slice(0, 80))}`)

const noImage = (part: string, mediaType: string): Fault =>
  new Fault(
    'unsupported',
    `what lies there is no image to run: its ${part} is of the type ${JSON.stringify(mediaType.slice(0, 80))}`
  )
