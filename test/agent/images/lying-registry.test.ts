import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { ImageLimits } from '../../../agent/images/limits.ts'
import { usualPatience } from '../../../agent/images/registry/settings.ts'
import { isFault } from '../../../base/fault.ts'
import { type Handler, type LyingRegistry, lyingRegistry } from '../../support/lying-registry.ts'
import { contentOf, isRoot, sha256, tarOf } from './fixtures.ts'
import { type Descriptor, plant, put, tag, types } from './lies.ts'
import { type PullBench, pull, pullBench } from './pull-bench.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const shared = skip ? undefined : await pullBench(t)
const bench = (): PullBench =>
  shared ??
  (() => {
    throw new Error('needs root')
  })()
const tar = tarOf([{ name: 'file', content: 'x'.repeat(5_000) }])
const impatient = { ...usualPatience, firstPauseMs: 1, stallMs: 300, slowMs: 200, attempts: 3 }

/** Pulls `app:1`, expects a Fault with this code and these words, and the store as it was. */
async function refuses(
  t: Test,
  registry: LyingRegistry,
  code: string,
  words: RegExp,
  limits: Partial<ImageLimits> = {}
): Promise<void> {
  const store = await bench().store('lied-to', { patience: impatient }, limits)
  const before = await contentOf(`${bench().directory}/lied-to`)
  const e: unknown = await pull(store, `${registry.host}/app:1`).then(
    () => undefined,
    (failure: unknown) => failure
  )
  if (!isFault(e)) return void t.fail(`no Fault: ${String(e)}`)
  t.equal(e.code, code, e.message)
  t.match(e.message, words)
  t.equal(await contentOf(`${bench().directory}/lied-to`), before, 'nothing is left behind')
}

const blobOf = ({ digest }: Descriptor): string => `/v2/app/blobs/${digest}`
const sends =
  (bytes: Buffer, headers: Record<string, string | number> = {}): Handler =>
  (_, response) =>
    void response.writeHead(200, headers).end(bytes)

t.test('bytes that are not what the manifest names are refused', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { layer } = plant(registry, tar)
  const other = Buffer.alloc(layer.size, 'z')
  registry.lies.set(blobOf(layer), sends(other))
  await refuses(t, registry, 'corrupt', /neither plain nor packed|digest/)
  // As gzip, with the right size: only the digest tells.
  const twin = gzipSync(tar)
  twin[4] = 7
  registry.lies.set(blobOf(layer), sends(twin))
  await refuses(t, registry, 'corrupt', /sends other bytes for the blob sha256:/)
  registry.lies.set(blobOf(layer), sends(Buffer.concat([gzipSync(tar), Buffer.alloc(10)])))
  await refuses(t, registry, 'corrupt', /has \d+ bytes for the blob|sends more than/)
  registry.lies.set(blobOf(layer), (_, response) => {
    response.writeHead(200)
    response.write(gzipSync(tar))
    response.end(Buffer.alloc(10))
  })
  await refuses(t, registry, 'corrupt', /sends more than the \d+ bytes/)
})

t.test('a wrong length is told, whichever way it is wrong', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { layer } = plant(registry, tar)
  registry.lies.set(blobOf(layer), sends(gzipSync(tar).subarray(0, 20), { 'content-length': 20 }))
  await refuses(t, registry, 'corrupt', /has 20 bytes for the blob/)
  registry.lies.set(blobOf(layer), (_, response) => {
    response.writeHead(200, { 'content-length': layer.size })
    response.write(gzipSync(tar).subarray(0, 20))
    setImmediate(() => response.destroy())
  })
  await refuses(t, registry, 'unavailable', /cannot be reached|in the middle/)
  registry.lies.set(blobOf(layer), (_, response) => void response.writeHead(200).end(gzipSync(tar).subarray(0, 20)))
  await refuses(t, registry, 'unavailable', /sends 20 bytes of the blob/)
  const asked = registry.asked.filter((line) => line.includes(layer.digest)).length
  t.ok(asked <= 1 + 2 * impatient.attempts, `${asked} requests`)
})

t.test('a manifest that is not what it is said to be is refused', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const strange = (change: (manifest: Record<string, unknown>, layer: Descriptor) => object): void =>
    void plant(registry, tar, change)
  strange((m, layer) => ({ ...m, layers: [{ ...layer, mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip' }] }))
  await refuses(t, registry, 'unsupported', /no image to run: its layer is of the type "application\/vnd\.cncf\.helm/)
  strange((m, layer) => ({ ...m, layers: [{ ...layer, mediaType: `${types.layer}+encrypted` }] }))
  await refuses(t, registry, 'unsupported', /encrypted/)
  strange((m) => ({ ...m, config: { ...(m['config'] as object), mediaType: 'application/vnd.oci.empty.v1+json' } }))
  await refuses(t, registry, 'unsupported', /configuration is of the type/)
  strange((m) => ({ ...m, manifests: [] }))
  await refuses(t, registry, 'corrupt', /could also be read as an index/)
  strange((m) => ({ ...m, mediaType: types.index }))
  await refuses(t, registry, 'corrupt', /calls itself/)
  strange(() => ({ schemaVersion: 1, fsLayers: [] }))
  await refuses(t, registry, 'unsupported', /first format/)
  strange((m, layer) => ({ ...m, layers: [layer, layer] }))
  await refuses(t, registry, 'corrupt', /has 2 layers, its configuration names 1/)
  strange((m, layer) => ({ ...m, layers: [{ ...layer, size: -1 }] }))
  await refuses(t, registry, 'corrupt', /makes no sense/)
  strange((m, layer) => ({ ...m, layers: [{ ...layer, digest: 'sha256:../../../etc/passwd' }] }))
  await refuses(t, registry, 'unsupported', /only sha256/)
  tag(registry, Buffer.from('no json'), types.manifest)
  await refuses(t, registry, 'corrupt', /is no JSON/)
  tag(registry, Buffer.alloc(6 * 1024 * 1024, ' '), types.manifest)
  await refuses(t, registry, 'invalid', /answers with more than/)
  plant(registry, tar)
  registry.lies.set('/v2/app/manifests/1', (_, response) => {
    const held = registry.holds.get('app/manifests/1')
    const headers = { 'content-type': types.manifest, 'docker-content-digest': `sha256:${'0'.repeat(64)}` }
    response.writeHead(200, headers).end(held?.bytes)
  })
  await refuses(t, registry, 'corrupt', /sends another manifest than the one asked for/)
})

t.test('indexes that lie deep, or in a circle, come to an end', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  let row: Descriptor = plant(registry, tar).manifest
  for (let depth = 0; depth < 5; depth += 1) {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests: [row] }))
    row = put(registry, 'manifests', bytes, types.index)
    tag(registry, bytes, types.index)
  }
  await refuses(t, registry, 'invalid', /nested more than 4 deep/)
  const circle = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [{ mediaType: types.index, digest: `sha256:${'a'.repeat(64)}`, size: 1 }]
    })
  )
  tag(registry, circle, types.index)
  registry.holds.set(`app/manifests/sha256:${'a'.repeat(64)}`, { bytes: circle, type: types.index })
  await refuses(t, registry, 'corrupt', /another manifest than the one asked for/)
})

t.test('layers that reach out of the image, or swell, are refused as those of an archive are', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const hostile: readonly (readonly [nodes: Parameters<typeof tarOf>[0], words: RegExp])[] = [
    [[{ name: '../escape', content: 'x' }], /leads upwards/],
    [[{ name: '/../escape', content: 'x' }], /leads upwards/],
    [[{ name: 'h', type: '1', linkName: '/etc/passwd' }], /hard link to a file that the archive does not have/],
    [
      [
        { name: 'd', type: '2', linkName: '/tmp' },
        { name: 'd/escape', content: 'x' }
      ],
      /behind the link/
    ],
    [[{ name: 'h', type: '1', linkName: '../../escape' }], /leads upwards/],
    [[{ name: 'h', type: '1', linkName: 'absent' }], /hard link to a file that the archive does not have/],
    [[{ name: 'd/.wh...', content: '' }], /removes nothing that has a name/],
    [[{ name: '.wh...', content: '' }], /removes nothing that has a name/]
  ]
  for (const [nodes, words] of hostile) {
    plant(registry, tarOf(nodes))
    await refuses(t, registry, 'invalid', words)
  }
  plant(registry, tarOf([{ name: 'zeros', content: Buffer.alloc(8_000_000) }]))
  await refuses(t, registry, 'exhausted', /unpacks to more than 20 times/, { ratio: 20, ratioFloorBytes: 1_000_000 })
  await refuses(t, registry, 'exhausted', /larger than 1000000 bytes/, { unpackedBytes: 1_000_000 })
  plant(registry, tarOf(Array.from({ length: 200 }, (_, at) => ({ name: `f${at}`, content: '' }))))
  await refuses(t, registry, 'exhausted', /more than 100 files/, { entries: 100 })
  plant(registry, tar, (m, layer) => ({ ...m, layers: [{ ...layer, size: 2 ** 40 }] }))
  await refuses(t, registry, 'exhausted', /more than the \d+ that this node takes/)
  await refuses(t, registry, 'exhausted', /must stay so/, { archiveBytes: 2 ** 50 })
})

t.test('a registry that stalls, drips or breaks off is given up after a while', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { layer } = plant(registry, tar)
  registry.lies.set(blobOf(layer), (_, response) => void response.writeHead(200).write('x'))
  await refuses(t, registry, 'timeout', /does not answer any more/)
  registry.lies.set('/v2/app/manifests/1', () => undefined)
  await refuses(t, registry, 'timeout', /does not answer any more/)
  registry.lies.delete('/v2/app/manifests/1')
  const packed = gzipSync(tar)
  registry.lies.set(blobOf(layer), (_, response) => {
    response.writeHead(200)
    let at = 0
    const drip = setInterval(() => {
      response.write(packed.subarray(at, at + 1))
      at += 1
    }, 20)
    response.once('close', () => clearInterval(drip))
  })
  await refuses(t, registry, 'timeout', /sends fewer than 2048 bytes a second/)
  registry.asked.length = 0
  registry.lies.set(blobOf(layer), (_, response) => {
    response.writeHead(200, { 'content-length': layer.size })
    response.write(packed.subarray(0, 1))
    setImmediate(() => response.socket?.resetAndDestroy())
  })
  await refuses(t, registry, 'unavailable', /cannot be reached/)
  t.equal(registry.asked.filter((line) => line.includes(layer.digest)).length, impatient.attempts)
})

t.test('a registry that is busy is asked again, as late as it wishes', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { layer } = plant(registry, tar)
  let refusals = 0
  const busy =
    (status: number): Handler =>
    (request, response) => {
      refusals += 1
      if (refusals % 2 === 0) registry.lies.delete(request.url ?? '')
      response.writeHead(status, { 'retry-after': '0' }).end('{"errors":[{"code":"TOOMANYREQUESTS"}]}')
    }
  registry.lies.set('/v2/app/manifests/1', busy(429))
  registry.lies.set(blobOf(layer), busy(503))
  const store = await bench().store('busy', { patience: impatient })
  t.match(await pull(store, `${registry.host}/app:1`), { layers: 1 })
  t.equal(refusals, 4)
  registry.lies.set('/v2/app/manifests/1', (_, response) => {
    response.writeHead(429).end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow \\u001b[31mdown"}]}')
  })
  await refuses(t, registry, 'unavailable', /answers 429 to manifests\/1 \(TOOMANYREQUESTS, slow \?\[31mdown\)/)
  t.equal(sha256(tar).length, 64)
})
