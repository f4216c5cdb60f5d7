import { lstat, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import {
  archiveOf,
  contentOf,
  importBytes,
  isRoot,
  namesIn,
  never,
  ociLayout,
  run,
  sha256,
  storeBench,
  tarOf,
  verify
} from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'

const plain = tarOf([
  { name: './', type: '5' },
  { name: './bin/', type: '5' },
  { name: './bin/hello', content: '#!/bin/sh\necho hi\n', mode: 0o4755, uid: 7, gid: 8 },
  { name: './bin/again', type: '1', linkName: './bin/hello' },
  { name: './etc/', type: '5', mode: 0o700 },
  { name: './etc/link', type: '2', linkName: '/bin/hello' },
  { name: './pipe', type: '6', mode: 0o600 },
  { name: './dev/null', type: '3' }
])

t.test('a root file system becomes one layer, with owners, modes, links and times', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const summary = await importBytes(store, plain, 'tiny')
  t.match(summary, { name: 'tiny:latest', kind: 'rootfs', layers: 1, skippedDevices: 1, unpackedBytes: 18 })
  const image = await store.resolve('tiny', never)
  const [layer = ''] = image.layers
  t.equal(image.layers.length, 1)
  t.equal(image.digest, summary.digest)
  const hello = await stat(join(layer, 'bin/hello'))
  t.match({ mode: hello.mode & 0o7777, uid: hello.uid, gid: hello.gid }, { mode: 0o4755, uid: 7, gid: 8 })
  t.equal(hello.mtimeMs, 1_600_000_000_000)
  t.equal((await stat(join(layer, 'bin/again'))).ino, hello.ino)
  t.equal(await readlink(join(layer, 'etc/link')), '/bin/hello')
  t.equal((await stat(join(layer, 'etc'))).mode & 0o7777, 0o700)
  t.equal((await stat(join(layer, 'bin'))).mtimeMs, 1_600_000_000_000)
  t.ok((await lstat(join(layer, 'pipe'))).isFIFO())
  await t.rejects(lstat(join(layer, 'dev/null')), { code: 'ENOENT' })
  t.match(await verify(store, 'tiny'), { layers: 1, damage: [] })
})

t.test('the same root file system has the same digest, packed or not', { skip }, async (t) => {
  const { store, storeDirectory } = await storeBench(t)
  const one = await importBytes(store, plain, 'one')
  const two = await importBytes(store, gzipSync(plain), 'two:9')
  const three = await importBytes(store, await run('zstd', ['-c'], plain), 'three')
  t.same([two.digest, three.digest], [one.digest, one.digest])
  t.same(await namesIn(join(storeDirectory, 'layers')), [sha256(plain), `${sha256(plain)}.contents`, `${sha256(plain)}.json`])
  t.same(
    (await store.list()).map((image) => image.name),
    ['host', 'one:latest', 'three:latest', 'two:9']
  )
})

t.test('the layers of an OCI image lie uppermost first, and keep what they hide', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const lower = tarOf([
    { name: 'etc/', type: '5' },
    { name: 'etc/gone', content: 'x' },
    { name: 'var/old/a', content: 'a' }
  ])
  const upper = tarOf([
    { name: 'etc/.wh.gone', content: '' },
    { name: 'var/old/', type: '5' },
    { name: 'var/old/.wh..wh..opq', content: '' },
    { name: 'var/old/b', content: 'b' }
  ])
  const config = { Entrypoint: ['/bin/hello'], Cmd: ['x'], Env: ['A=b'], WorkingDir: '/var', User: '7', StopSignal: 'SIGINT' }
  const built = ociLayout([lower, upper], { pack: (layer) => gzipSync(layer), config })
  const summary = await importBytes(store, archiveOf(built.files), 'stacked:1')
  t.match(summary, { kind: 'oci', digest: built.manifestDigest, layers: 2 })
  const image = await store.resolve('stacked:1', never)
  t.match(image, { entrypoint: ['/bin/hello'], command: ['x'], workingDirectory: '/var', user: '7', stopSignal: 'SIGINT' })
  t.ok(image.environment.includes('A=b'))
  const [top = '', bottom = ''] = image.layers
  t.equal(await readFile(join(bottom, 'etc/gone'), 'utf8'), 'x')
  const whiteout = await lstat(join(top, 'etc/gone'))
  t.ok(whiteout.isCharacterDevice())
  t.equal(whiteout.rdev, 0)
  t.match(await verify(store, 'stacked:1'), { layers: 2, damage: [] })
  t.ok((await contentOf(join(top, 'var/old'))).includes('b f 1'))
})

t.test('an archive with nothing but device nodes says that they were left out', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const nodes = ['null', 'zero'].map((name) => ({ name, type: '3' }))
  await t.rejects(importBytes(store, tarOf(nodes.slice(1)), 'x'), {
    code: 'invalid',
    message: /its one device node was left out/
  })
  await t.rejects(importBytes(store, tarOf(nodes), 'x'), { code: 'invalid', message: /its 2 device nodes were left out/ })
  await t.rejects(importBytes(store, tarOf([]), 'x'), { code: 'invalid', message: 'the archive is empty: it holds no file' })
})
