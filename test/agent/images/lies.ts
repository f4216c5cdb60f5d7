import { gzipSync } from 'node:zlib'
import type { LyingRegistry } from '../../support/lying-registry.ts'
import { sha256 } from './fixtures.ts'

const own = process.arch === 'x64' ? 'amd64' : process.arch

export const types = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip'
}

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

/** Puts bytes under their digest. */
export function put(registry: LyingRegistry, kind: 'blobs' | 'manifests', bytes: Buffer, type: string): Descriptor {
  const digest = `sha256:${sha256(bytes)}`
  registry.holds.set(`app/${kind}/${digest}`, { bytes, type: kind === 'blobs' ? 'application/octet-stream' : type })
  return { mediaType: type, digest, size: bytes.length }
}

export interface Planted {
  readonly layer: Descriptor
  readonly manifest: Descriptor
}

/** An image `app:1` of one layer; `change` has the last word on its manifest. */
export function plant(
  registry: LyingRegistry,
  tar: Buffer,
  change: (manifest: Record<string, unknown>, layer: Descriptor) => object = (manifest) => manifest
): Planted {
  const layer = put(registry, 'blobs', gzipSync(tar), types.layer)
  const rootfs = { type: 'layers', diff_ids: [`sha256:${sha256(tar)}`] }
  const config = put(registry, 'blobs', Buffer.from(JSON.stringify({ architecture: own, os: 'linux', rootfs })), types.config)
  const plain = { schemaVersion: 2, mediaType: types.manifest, config, layers: [layer] }
  const bytes = Buffer.from(JSON.stringify(change(plain, layer)))
  const manifest = put(registry, 'manifests', bytes, types.manifest)
  tag(registry, bytes, types.manifest)
  return { layer, manifest }
}

/** What `app:1` is. */
export function tag(registry: LyingRegistry, bytes: Buffer, type: string): void {
  registry.holds.set('app/manifests/1', { bytes, type })
}
