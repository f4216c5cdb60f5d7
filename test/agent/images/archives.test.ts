import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import {
  archiveOf,
  type BuiltImage,
  contentOf,
  importBytes,
  isRoot,
  never,
  ociLayout,
  run,
  sha256,
  storeBench,
  tarOf,
  verify
} from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const lower = tarOf([
  { name: 'bin/', type: '5' },
  { name: 'bin/sh', content: 'sh', mode: 0o755 },
  { name: 'etc/keep', content: '1' },
  { name: 'etc/gone', content: '2' }
])
const upper = tarOf([{ name: 'etc/.wh.gone' }, { name: 'etc/new', content: '3' }])

/** A small root file system with busybox, made on the disk. */
async function busyboxRoot(directory: string): Promise<string> {
  const root = join(directory, 'root')
  for (const folder of ['bin', 'etc', 'tmp']) await mkdir(join(root, folder), { recursive: true })
  await copyFile('/bin/busybox', join(root, 'bin/busybox'))
  await chmod(join(root, 'tmp'), 0o1777)
  await symlink('busybox', join(root, 'bin/sh'))
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\n')
  return root
}

t.test('GNU tar, plain and packed, in each of its formats', { skip }, async (t) => {
  const { store, directory } = await storeBench(t)
  const root = await busyboxRoot(directory)
  await writeFile(join(root, `etc/${'long-name-'.repeat(20)}`), 'x')
  await writeFile(Buffer.concat([Buffer.from(`${root}/etc/`), Buffer.from([0xff, 0xfe])]), 'no UTF-8')
  for (const format of ['gnu', 'pax', 'ustar']) {
    const exclude = format === 'ustar' ? ['--exclude=long-name*'] : []
    const archive = await run('tar', ['-C', root, `--format=${format}`, ...exclude, '--numeric-owner', '-c', '.'])
    const summary = await importBytes(store, archive, `busybox:${format}`)
    t.equal(summary.kind, 'rootfs', format)
    const [layer = ''] = (await store.resolve(`busybox:${format}`, never)).layers
    t.equal(
      (await run('diff', ['-r', '--no-dereference', ...exclude.map(() => '--exclude=long-name*'), root, `${layer}/`])).toString(),
      ''
    )
    t.match(await verify(store, `busybox:${format}`), { damage: [] })
  }
})

t.test('what skopeo and umoci write comes out as what went in', { skip }, async (t) => {
  const { store, directory } = await storeBench(t)
  const root = await busyboxRoot(directory)
  const layout = join(directory, 'layout')
  await run('umoci', ['init', '--layout', layout])
  await run('umoci', ['new', '--image', `${layout}:one`])
  await run('umoci', ['insert', '--image', `${layout}:one`, join(root, 'bin'), '/bin'])
  await run('umoci', ['insert', '--image', `${layout}:one`, join(root, 'etc'), '/etc'])
  await run('umoci', ['insert', '--image', `${layout}:one`, '--whiteout', '/etc/passwd'])
  await run('umoci', ['config', '--image', `${layout}:one`, '--config.cmd', '/bin/sh', '--config.user', '5:6'])
  const sources = [
    ['oci', await run('tar', ['-C', layout, '-c', '.'])],
    ['oci', await skopeo(directory, layout, 'oci-archive', 'out-oci.tar:one')],
    ['docker-archive', await skopeo(directory, layout, 'docker-archive', 'out-docker.tar:box:7')]
  ] as const
  for (const [kind, archive] of sources) {
    const summary = await importBytes(store, archive, 'box:7')
    t.equal(summary.kind, kind)
    const image = await store.resolve('box:7', never)
    t.match(image, { command: ['/bin/sh'], user: '5:6' })
    t.equal(image.layers.length, 3)
    t.same(await merged(image.layers, 'ls -A etc; ./bin/busybox cat bin/sh | sha256sum'), [
      `${sha256(await readFile('/bin/busybox'))}  -`
    ])
  }
})

async function skopeo(directory: string, layout: string, transport: string, target: string): Promise<Buffer> {
  await run('skopeo', ['--insecure-policy', 'copy', '--quiet', `oci:${layout}:one`, `${transport}:${join(directory, target)}`])
  return readFile(join(directory, target.slice(0, target.indexOf(':'))))
}

/** What a shell sees in the layers mounted as the kernel merges them. */
async function merged(layers: readonly string[], script: string): Promise<readonly string[]> {
  const mount = `mount -t tmpfs tmpfs /mnt && mkdir /mnt/m /mnt/u /mnt/w && mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/u,workdir=/mnt/w" /mnt/m`
  const out = await run('unshare', ['--mount', 'sh', '-ec', `${mount}; cd /mnt/m; ${script}`, 'sh', layers.join(':')])
  return out.toString().trim().split('\n')
}

t.test('the kernel merges the layers as the image means it', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const base = tarOf([
    { name: 'etc/a', content: 'a' },
    { name: 'etc/b', content: 'b' },
    { name: 'var/x/1' },
    { name: 'var/y/1' },
    { name: 'top' }
  ])
  const over = tarOf([
    { name: 'var/x/', type: '5' },
    { name: 'var/x/.wh..wh..opq' },
    { name: 'var/x/2' },
    { name: 'etc/.wh.a' },
    { name: '.wh.top' },
    // Removed and brought anew in the same layer, in either order.
    { name: 'etc/.wh.b' },
    { name: 'etc/b', content: 'new' },
    { name: 'var/y/2' },
    { name: 'var/.wh.y' }
  ])
  await importBytes(store, archiveOf(ociLayout([base, over]).files), 'merged')
  const { layers } = await store.resolve('merged', never)
  t.same(await merged(layers, 'find . | sort; cat etc/b'), [
    '.',
    './etc',
    './etc/b',
    './var',
    './var/x',
    './var/x/2',
    './var/y',
    './var/y/2',
    'new'
  ])
})

t.test('a file capability survives, and a hard link to such a file', { skip }, async (t) => {
  const { store, directory } = await storeBench(t)
  const capability = Buffer.from('0100000280000000000000000000000000000000', 'hex')
  const archive = tarOf([
    { name: 'bin/map', content: 'program', mode: 0o755, uid: 3, pax: { 'SCHILY.xattr.security.capability': capability } },
    { name: 'bin/same', type: '1', linkName: 'bin/map' }
  ])
  await importBytes(store, archive, 'capable')
  const [layer = ''] = (await store.resolve('capable', never)).layers
  const out = join(directory, 'out.tar')
  await run('tar', ['-C', `${layer}/`, '--xattrs', '--xattrs-include=*', '-cf', out, 'bin'])
  const back = await readFile(out)
  t.ok(back.includes(Buffer.concat([Buffer.from('SCHILY.xattr.security.capability='), capability])))
  t.match((await run('stat', ['-c', '%u %a %h %s', join(layer, 'bin/same')])).toString(), /^3 755 2 7$/m)
})

const dockerOld = (config: Buffer, names: readonly string[]): Map<string, Buffer> =>
  new Map([
    [`${'a'.repeat(64)}/VERSION`, Buffer.from('1.0')],
    [`${'a'.repeat(64)}/layer.tar`, lower],
    [`${'b'.repeat(64)}/layer.tar`, upper],
    [`${sha256(config)}.json`, config],
    [
      'manifest.json',
      json([{ Config: `${sha256(config)}.json`, RepoTags: names, Layers: ['a', 'b'].map((id) => `${id.repeat(64)}/layer.tar`) }])
    ]
  ])

const dockerConfig = json({
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  os: 'linux',
  config: { Env: ['PATH=/bin'] },
  rootfs: { type: 'layers', diff_ids: [lower, upper].map((layer) => `sha256:${sha256(layer)}`) }
})

t.test('an archive of the old docker form brings its own name', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const summary = await importBytes(store, archiveOf(dockerOld(dockerConfig, ['shop/web:3'])), '')
  t.match(summary, { name: 'shop/web:3', kind: 'docker-archive', layers: 2 })
  t.same((await store.resolve('shop/web:3', never)).environment, ['PATH=/bin'])
})

/** An OCI archive whose top index calls its images this. */
function ociNamed(rows: readonly (readonly [Buffer, string])[]): Buffer {
  const images = rows.map(([layer, name]) => ({ name, image: ociLayout([layer]) }))
  const manifests = images.flatMap(({ name, image }) =>
    (JSON.parse((image.files.get('index.json') ?? '').toString()) as { manifests: object[] }).manifests.map((row) => ({
      ...row,
      annotations: { 'org.opencontainers.image.ref.name': name }
    }))
  )
  const files = new Map(images.flatMap(({ image }) => [...image.files]))
  return archiveOf(new Map([...files, ['index.json', json({ schemaVersion: 2, manifests })]]))
}

t.test('an image has the name that skopeo gave it, and is found with and without docker.io/library/', { skip }, async (t) => {
  const { store, directory } = await storeBench(t)
  const layout = join(directory, 'layout')
  await run('umoci', ['init', '--layout', layout])
  await run('umoci', ['new', '--image', `${layout}:one`])
  await run('umoci', ['insert', '--image', `${layout}:one`, join(await busyboxRoot(directory), 'bin'), '/bin'])
  const oci = await importBytes(store, await skopeo(directory, layout, 'oci-archive', 'oci.tar:bbx:3'), '')
  t.match(oci, { name: 'bbx:3', kind: 'oci' })
  const docker = await importBytes(store, await skopeo(directory, layout, 'docker-archive', 'docker.tar:bbd:2.0'), '')
  t.match(docker, { name: 'bbd:2.0', kind: 'docker-archive' })
  for (const name of ['bbd:2.0', 'docker.io/library/bbd:2.0', 'docker.io/bbd:2.0']) {
    t.equal((await store.resolve(name, never)).reference, 'bbd:2.0', name)
  }
  t.equal((await importBytes(store, archiveOf(dockerOld(dockerConfig, [])), 'docker.io/shop/web')).name, 'shop/web:latest')
  t.equal((await store.resolve('shop/web', never)).reference, 'shop/web:latest')
  await store.remove('docker.io/shop/web:latest')
  await t.rejects(store.resolve('shop/web', never), { code: 'not-found' })
})

t.test('one of several images is taken by any way to write its name', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const archive = ociNamed([
    [lower, 'docker.io/library/low:1'],
    [upper, 'high:1']
  ])
  const digests = [(await importBytes(store, archive, 'low:1')).digest, (await importBytes(store, archive, 'high:1')).digest]
  t.same(digests, [ociLayout([lower]).manifestDigest, ociLayout([upper]).manifestDigest])
  await t.rejects(importBytes(store, archive, ''), { code: 'invalid', message: /several images/ })
})

t.test('an archive without a usable name for its image asks for one', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const rows = [
    ['3', 'the archive has only the tag "3" for its image and no name: give one with --name NAME'],
    ['', 'the archive does not name its image: give one with --name NAME'],
    ['Shop:1', 'the archive names its image "Shop:1", which is no name here: give one with --name NAME']
  ] as const
  for (const [name, message] of rows) {
    await t.rejects(importBytes(store, ociNamed([[lower, name]]), ''), { code: 'invalid', message })
  }
})

t.test('the platform of this node is chosen out of a nested index', { skip }, async (t) => {
  const { store } = await storeBench(t)
  const here = ociLayout([lower])
  const there = ociLayout([upper], { architecture: 'mips' })
  const rows = (image: BuiltImage, platform: object) =>
    (JSON.parse((image.files.get('index.json') ?? '').toString()) as { manifests: object[] }).manifests.map((row) => ({
      ...row,
      platform
    }))
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const inner = json({
    schemaVersion: 2,
    manifests: [
      ...rows(there, { os: 'linux', architecture: 'mips' }),
      ...rows(here, { os: 'linux', architecture: arch }),
      ...rows(there, { os: 'unknown', architecture: 'unknown' })
    ]
  })
  const outer = json({
    schemaVersion: 2,
    manifests: [{ mediaType: 'application/vnd.oci.image.index.v1+json', digest: `sha256:${sha256(inner)}`, size: inner.length }]
  })
  const files = new Map([
    ...here.files,
    ...there.files,
    [`blobs/sha256/${sha256(inner)}`, inner] as const,
    ['index.json', outer] as const
  ])
  t.equal((await importBytes(store, archiveOf(files), 'multi')).digest, here.manifestDigest)
  await t.rejects(importBytes(store, archiveOf(there.files), 'foreign'), {
    code: 'unsupported',
    message: /linux\/mips and this node is linux/
  })
})

async function breaks(t: Test, files: ReadonlyMap<string, Buffer>, code: string, words: RegExp): Promise<void> {
  const bench = await storeBench(t)
  const before = await contentOf(bench.directory)
  await t.rejects(importBytes(bench.store, archiveOf(files), 'bad'), { code, message: words })
  t.equal(await contentOf(bench.directory), before)
}

t.test('an image that is not what its digests say is refused, and nothing is left', { skip }, async (t) => {
  const good = ociLayout([lower, upper], { pack: (layer) => gzipSync(layer) })
  const change = (name: string, bytes: Buffer | undefined): Map<string, Buffer> => {
    const files = new Map(good.files)
    if (bytes === undefined) files.delete(name)
    else files.set(name, bytes)
    return files
  }
  const layerName = [...good.files.keys()][0] ?? ''
  await breaks(t, change(layerName, undefined), 'corrupt', /blob sha256:[0-9a-f]{64} is missing/)
  await breaks(t, change(layerName, gzipSync(tarOf([{ name: 'other' }]))), 'corrupt', /has the digest/)
  await breaks(t, change('index.json', Buffer.from('{')), 'corrupt', /index.json is no JSON/)
  await breaks(t, change('index.json', json({ manifests: [{ digest: 'sha256:../../x', size: 1 }] })), 'unsupported', /sha256/)
  await breaks(t, change('oci-layout', undefined), 'invalid', /neither oci-layout/)
  const lying = {
    ...JSON.parse(dockerConfig.toString()),
    rootfs: { type: 'layers', diff_ids: [`sha256:${'0'.repeat(64)}`, `sha256:${sha256(upper)}`] }
  }
  await breaks(t, dockerOld(json(lying), ['x:1']), 'corrupt', /layer 1 of the image has the digest/)
  const short = { ...JSON.parse(dockerConfig.toString()), rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(lower)}`] } }
  await breaks(t, dockerOld(json(short), ['x:1']), 'corrupt', /2 layers, its configuration names 1/)
  await breaks(
    t,
    dockerOld(json({ ...lying, rootfs: { diff_ids: ['../../../etc', 'x'] } }), ['x:1']),
    'corrupt',
    /makes no sense/
  )
})
