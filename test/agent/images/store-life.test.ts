import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { ImageStore } from '../../../agent/ports.ts'
import {
  archiveOf,
  type Bench,
  contentOf,
  importBytes,
  isRoot,
  namesIn,
  never,
  ociLayout,
  sha256,
  storeBench,
  tarOf,
  verify
} from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const base = tarOf([{ name: 'bin/sh', content: 'base' }])
const one = tarOf([{ name: 'one', content: '1' }])
const two = tarOf([{ name: 'two', content: '22' }])
const stack = (...layers: readonly Buffer[]): Buffer => archiveOf(ociLayout(layers).files)
const layerNames = async ({ storeDirectory }: Bench): Promise<readonly string[]> =>
  (await namesIn(join(storeDirectory, 'layers'))).filter((name) => !name.includes('.'))
const hexes = (...layers: readonly Buffer[]): readonly string[] => layers.map(sha256).sort()

/** Each test that collects does so in a later agent: what was resolved a moment ago is kept. */
const later = async (bench: Bench) => bench.open()

t.test('layers are shared, and go with the last image that needs them', { skip }, async (t) => {
  const bench = await storeBench(t)
  const { store } = bench
  const first = await importBytes(store, stack(base, one), 'first')
  await importBytes(store, stack(base, two), 'second')
  t.same(await layerNames(bench), hexes(base, one, two))
  await store.remove('first')
  await t.rejects(store.resolve('first', never), { code: 'not-found', message: /no image first on this node.*second:latest/ })
  t.match(await store.collect(new Set([first.digest]), never), { layers: 0, blobs: 0 })
  t.same(await layerNames(bench), hexes(base, one, two), 'a container still runs from it')
  t.match(await store.collect(new Set(), never), { layers: 1, blobs: 2, bytes: 1 })
  t.same(await layerNames(bench), hexes(base, two))
  t.match(await verify(store, 'second'), { damage: [] })
  await store.remove('second')
  await store.collect(new Set(), never)
  t.same(await layerNames(bench), [])
  t.same(await namesIn(join(bench.storeDirectory, 'l')), [])
  t.same(await namesIn(join(bench.storeDirectory, 'blobs/sha256')), [])
})

t.test('an image that was just resolved is not collected', { skip }, async (t) => {
  const bench = await storeBench(t)
  await importBytes(bench.store, base, 'x')
  await bench.store.resolve('x', never)
  await bench.store.remove('x')
  t.match(await bench.store.collect(new Set(), never), { layers: 0 })
  t.match(await (await later(bench)).collect(new Set(), never), { layers: 1 })
})

t.test('a name that is imported anew leads to the new image, and the old one stays while it is used', { skip }, async (t) => {
  const bench = await storeBench(t)
  const old = await importBytes(bench.store, one, 'x')
  const fresh = await importBytes(bench.store, two, 'x')
  t.equal((await bench.store.resolve('x', never)).digest, fresh.digest)
  await bench.store.collect(new Set([old.digest]), never)
  t.same(await layerNames(bench), hexes(one, two))
  await bench.store.collect(new Set(), never)
  t.same(await layerNames(bench), hexes(two))
})

t.test('nothing is collected while it is not known what a container runs from', { skip }, async (t) => {
  const bench = await storeBench(t)
  await importBytes(bench.store, one, 'x')
  await bench.store.remove('x')
  t.match(await bench.store.collect(new Set([`sha256:${'0'.repeat(64)}`]), never), { layers: 0, blobs: 0 })
  t.same(await layerNames(bench), hexes(one))
})

t.test('the same layer twice in an image is mounted once', { skip }, async (t) => {
  const { store } = await storeBench(t)
  await importBytes(store, stack(one, base, one), 'x')
  const { layers } = await store.resolve('x', never)
  t.same(await Promise.all(layers.map((layer) => namesIn(`${layer}/`))), [['one'], ['bin']])
})

/** Sends a part, then calls `then` with the draft's name, then waits for ever. */
async function* halfOf(archive: Buffer, then: () => Promise<void>): AsyncGenerator<Uint8Array> {
  yield archive.subarray(0, archive.length / 2)
  await then()
  await new Promise<void>(() => undefined)
}

const draftOwner = async ({ storeDirectory }: Bench): Promise<number> => {
  const [draft = ''] = await namesIn(join(storeDirectory, 'drafts'))
  return (JSON.parse(await readFile(join(storeDirectory, 'drafts', draft, 'owner.json'), 'utf8')) as { pid: number }).pid
}

const big = tarOf([
  { name: 'a', content: Buffer.alloc(300_000) },
  { name: 'b', content: Buffer.alloc(300_000) }
])

t.test('an unpack child that is killed leaves nothing', { skip }, async (t) => {
  const bench = await storeBench(t)
  const before = await contentOf(bench.storeDirectory)
  const kill = async () => void process.kill(await draftOwner(bench), 'SIGKILL')
  await t.rejects(importBytes(bench.store, halfOf(big, kill), 'x'), { code: 'unavailable', message: /ended early \(SIGKILL\)/ })
  t.equal(await contentOf(bench.storeDirectory), before)
  t.match(await importBytes(bench.store, big, 'x'), { name: 'x:latest' })
})

t.test('an agent that comes back ends the import of the one before, and clears it away', { skip }, async (t) => {
  const bench = await storeBench(t)
  const before = await contentOf(bench.storeDirectory)
  await mkdir(join(bench.storeDirectory, 'drafts/left/layers'), { recursive: true })
  await writeFile(join(bench.storeDirectory, 'drafts/left/layers/half'), 'x')
  await mkdir(join(bench.storeDirectory, 'hosts/0123.draft'))
  let reopened: () => void = () => undefined
  const half = new Promise<void>((resolve) => {
    reopened = resolve
  })
  const left = importBytes(
    bench.store,
    halfOf(big, async () => reopened()),
    'x'
  )
  const lost = t.rejects(left, { code: 'unavailable' })
  await half
  await bench.open()
  await lost
  t.equal(await contentOf(bench.storeDirectory), before)
  t.same(await namesIn(join(bench.storeDirectory, 'hosts')), [])
})

t.test('an import that is called off leaves nothing', { skip }, async (t) => {
  const bench = await storeBench(t)
  const before = await contentOf(bench.storeDirectory)
  const stop = new AbortController()
  const archive = halfOf(big, async () => stop.abort(new Error('called off')))
  await t.rejects(
    bench.store.import(archive, { name: 'x', kind: 'auto' }, () => undefined, stop.signal),
    { message: 'called off' }
  )
  t.equal(await contentOf(bench.storeDirectory), before)
})

t.test('an archive that stops arriving leaves nothing', { skip }, async (t) => {
  const bench = await storeBench(t)
  const before = await contentOf(bench.storeDirectory)
  const archive = halfOf(big, async () => {
    throw new Error('connection reset')
  })
  await t.rejects(importBytes(bench.store, archive, 'x'), { code: 'unavailable', message: /stopped arriving/ })
  t.equal(await contentOf(bench.storeDirectory), before)
})

t.test('an import lets go of what it has passed on', { skip }, async (t) => {
  const { store } = await storeBench(t)
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  const archive = tarOf([{ name: 'a', content: Buffer.alloc(8_000_000, 'a') }])
  const given: WeakRef<Buffer>[] = []
  let alive = 0
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < archive.length; at += 40_000) {
      const chunk = Buffer.from(archive.subarray(at, at + 40_000))
      given.push(new WeakRef(chunk))
      yield chunk
    }
    collectGarbage()
    alive = given.filter((one) => one.deref() !== undefined).length
  }
  await importBytes(store, chunks(), 'x')
  t.ok(given.length > 100 && alive * 2 < given.length, `${alive} of ${given.length} chunks are still there`)
})

t.test('a third import at the same time is told to wait', { skip }, async (t) => {
  const bench = await storeBench(t)
  const stop = new AbortController()
  const waiting = ['a', 'b'].map((name) =>
    bench.store.import(
      halfOf(big, async () => undefined),
      { name, kind: 'auto' },
      () => undefined,
      stop.signal
    )
  )
  await t.rejects(importBytes(bench.store, big, 'c'), { code: 'exhausted' })
  stop.abort(new Error('enough'))
  for (const one of waiting) await t.rejects(one)
})

t.test('the images are there for the next agent', { skip }, async (t) => {
  const bench = await storeBench(t)
  const summary = await importBytes(bench.store, stack(base, one), 'x')
  await writeFile(join(bench.storeDirectory, 'images.json.draft'), '{"half')
  const again: ImageStore & Bench['store'] = await bench.open()
  t.same((await again.list())[1], summary)
  t.notOk((await namesIn(bench.storeDirectory)).includes('images.json.draft'), 'a half-written list of the one before is gone')
  t.match(await again.show(summary.digest), {
    name: 'x:latest',
    layerDigests: [base, one].map((layer) => `sha256:${sha256(layer)}`)
  })
})

t.test('a name that an earlier agent kept with its registry is found by the short one', { skip }, async (t) => {
  const bench = await storeBench(t)
  await importBytes(bench.store, stack(base), 'kept:1')
  const path = join(bench.storeDirectory, 'images.json')
  await writeFile(path, (await readFile(path, 'utf8')).replace('"kept:1"', '"docker.io/library/kept:1"'))
  const store = await later(bench)
  t.equal((await store.resolve('kept:1', never)).reference, 'kept:1')
  t.equal((await store.resolve('docker.io/library/kept:1', never)).reference, 'kept:1')
})

t.test('a list that cannot be read is put aside, and then nothing is collected', { skip }, async (t) => {
  const bench = await storeBench(t)
  await importBytes(bench.store, one, 'x')
  await writeFile(join(bench.storeDirectory, 'images.json'), '{"version":1,"images":[{"na')
  const again = await bench.open()
  t.same(
    (await again.list()).map((image) => image.name),
    ['host']
  )
  await t.rejects(again.collect(new Set(), never), { code: 'conflict', message: /images\.json\.damaged/ })
  t.same(await layerNames(bench), hexes(one))
  await rename(join(bench.storeDirectory, 'images.json.damaged'), join(bench.directory, 'looked-at'))
  t.match(await again.collect(new Set(), never), { layers: 1 })
})

t.test('damage is found', { skip }, async (t) => {
  const bench = await storeBench(t)
  await importBytes(bench.store, stack(base, one), 'x')
  const [top = ''] = (await bench.store.resolve('x', never)).layers
  await rm(join(top, 'one'))
  t.match(await verify(bench.store, 'x'), { damage: [{ kind: 'layer', count: 1, paths: ['one'] }], repaired: false })
  await t.rejects(verify(bench.store, 'x', true), { code: 'unsupported', message: /did not come from a registry/ })
  await rm(join(bench.storeDirectory, 'layers', sha256(one)), { recursive: true })
  await t.rejects(bench.store.resolve('x', never), { code: 'corrupt', message: /layer is missing/ })
})

t.test('a name is checked before anything is read', async (t) => {
  const { store } = await storeBench(t)
  for (const name of ['host', 'host:latest', 'Upper', '../x', 'a b', 'a:b:c', '-x', 'x'.repeat(300), 'a//b', 'a:']) {
    await t.rejects(importBytes(store, base, name), { code: 'invalid' }, name)
  }
  await t.rejects(store.remove('host'), { code: 'invalid' })
})
