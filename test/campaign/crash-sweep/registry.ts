import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { rootfsArchive } from './archives.ts'

interface Held {
  readonly bytes: Buffer
  readonly type: string
}

/** One over a folder that the image has, and one that is new. */
const volumes = { '/etc': {}, '/fresh': {} }
const own = process.arch === 'x64' ? 'amd64' : process.arch
let serving: Promise<Server> | undefined

/** `127.0.0.1:PORT/swept:1`: an image at a registry of this process, which lets the process end. */
export async function registryImage(): Promise<string> {
  serving ??= serve()
  const { port } = (await serving).address() as AddressInfo
  return `127.0.0.1:${port}/swept:1`
}

async function serve(): Promise<Server> {
  const held = imageAt('swept')
  const server = createServer((request, response) => {
    const found = held.get(request.url ?? '')
    if (found === undefined) response.writeHead(request.url === '/v2/' ? 200 : 404).end()
    else response.writeHead(200, { 'content-type': found.type, 'content-length': found.bytes.length }).end(found.bytes)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  return server
}

function imageAt(repository: string): ReadonlyMap<string, Held> {
  const held = new Map<string, Held>()
  const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const put = (bytes: Buffer, mediaType: string) => {
    held.set(`/v2/${repository}/blobs/${digestOf(bytes)}`, { bytes, type: 'application/octet-stream' })
    return { mediaType, digest: digestOf(bytes), size: bytes.length }
  }
  const tar = rootfsArchive()
  const layer = put(gzipSync(tar), 'application/vnd.oci.image.layer.v1.tar+gzip')
  const settings = {
    architecture: own,
    os: 'linux',
    config: { Volumes: volumes },
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] }
  }
  const config = put(Buffer.from(JSON.stringify(settings)), 'application/vnd.oci.image.config.v1+json')
  const type = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [layer] }))
  for (const name of ['1', digestOf(manifest)]) held.set(`/v2/${repository}/manifests/${name}`, { bytes: manifest, type })
  return held
}
