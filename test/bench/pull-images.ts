import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { run } from './programs.ts'

export interface Pushed {
  readonly repository: string
  readonly layers: number
  readonly plainBytes: number
  readonly packedBytes: number
}

const systemBytes = 300e6
const layerBytes = 75e6
const maxTarBytes = 256 * 1024 * 1024
/** Files of every kind that images hold: programs, libraries, scripts, data. */
const sources = ['/usr/bin', '/usr/lib', '/usr/share', '/usr/sbin']

/** About 300 MB of this host's own files, in layers, pushed as `system:1`. */
export async function pushSystem(directory: string, host: string): Promise<Pushed> {
  const layers: Buffer[] = []
  let held: string[] = []
  let heldBytes = 0
  let all = 0
  const put = (): void => {
    layers.push(
      execFileSync('tar', ['-C', '/', '--numeric-owner', '--no-recursion', '--null', '-T', '-', '-cf', '-'], {
        input: held.join('\0'),
        maxBuffer: maxTarBytes
      })
    )
    held = []
    heldBytes = 0
  }
  for (const path of filesBelow(sources)) {
    const { size } = lstatSync(path)
    if (size > layerBytes) continue
    held.push(path.slice(1))
    heldBytes += size
    all += size
    if (heldBytes >= layerBytes) put()
    if (all >= systemBytes) break
  }
  if (held.length > 0) put()
  const packed = layers.map((layer) => gzipSync(layer, { level: 6 }))
  await push(directory, `${host}/system:1`, layers, packed)
  const sum = (all: readonly Buffer[]): number => all.reduce((bytes, { length }) => bytes + length, 0)
  return { repository: 'system', layers: layers.length, plainBytes: sum(layers), packedBytes: sum(packed) }
}

/** Small images, each with one layer of its own over three that all share. */
export async function pushMany(
  directory: string,
  host: string,
  count: number
): Promise<{ readonly repositories: readonly string[]; readonly distinct: number }> {
  const shared = ['base', 'libraries', 'settings'].map((name) => layerOf(directory, name))
  const repositories: string[] = []
  for (let n = 0; n < count; n += 1) {
    const layers = [...shared, layerOf(directory, `own-${n}`)]
    await push(
      join(directory, `image-${n}`),
      `${host}/many-${n}:1`,
      layers,
      layers.map((layer) => gzipSync(layer))
    )
    repositories.push(`many-${n}`)
  }
  return { repositories, distinct: shared.length + count }
}

function layerOf(directory: string, name: string): Buffer {
  const folder = join(directory, name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), name.repeat(1_000))
  return execFileSync('tar', ['-C', folder, '-cf', '-', name], { maxBuffer: maxTarBytes })
}

async function push(directory: string, target: string, layers: readonly Buffer[], packed: readonly Buffer[]): Promise<void> {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true })
  const put = (bytes: Buffer, mediaType: string) => {
    writeFileSync(join(directory, 'blobs/sha256', digestOf(bytes)), bytes)
    return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${digestOf(bytes)}`, size: bytes.length }
  }
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
  const rows = packed.map((bytes) => put(bytes, 'layer.v1.tar+gzip'))
  const diffIds = layers.map((layer) => `sha256:${digestOf(layer)}`)
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch
  const config = put(
    json({ architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: diffIds } }),
    'config.v1+json'
  )
  const manifest = put(json({ schemaVersion: 2, config, layers: rows }), 'manifest.v1+json')
  writeFileSync(join(directory, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(join(directory, 'index.json'), json({ schemaVersion: 2, manifests: [manifest] }))
  await run('skopeo', [
    'copy',
    '--quiet',
    '--insecure-policy',
    '--dest-tls-verify=false',
    `oci:${directory}`,
    `docker://${target}`
  ])
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

function* filesBelow(folders: readonly string[]): Iterable<string> {
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { withFileTypes: true, recursive: false })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) yield* filesBelow([path])
      else if (entry.isFile() || entry.isSymbolicLink()) yield path
    }
  }
}
