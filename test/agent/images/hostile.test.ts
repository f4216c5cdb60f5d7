import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { pack } from 'tar-stream'
import { systemExec } from '../../../agent/host/exec.ts'
import { defaultImageLimits } from '../../../agent/images/limits.ts'
import { openImageStore } from '../../../agent/images/store.ts'
import { Unpacking } from '../../../agent/images/unpack.ts'
import { systemClock } from '../../../base/clock.ts'
import { isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import {
  type Bench,
  contentOf,
  importBytes,
  isRoot,
  type Node,
  never,
  noRegistries,
  run,
  scratch,
  storeBench,
  tarOf
} from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'

/** Imports, expects a Fault with this code and a sentence with these words, and the store as it was. */
async function refuses(t: Test, bench: Bench, archive: Uint8Array, code: string, words: RegExp): Promise<void> {
  const before = await contentOf(bench.directory)
  const e: unknown = await importBytes(bench.store, archive, 'bad', 'rootfs').then(
    () => undefined,
    (failure: unknown) => failure
  )
  t.ok(isFault(e), 'a Fault')
  if (!isFault(e)) return
  t.equal(e.code, code, e.message)
  t.match(e.message, words)
  t.equal(await contentOf(bench.directory), before, 'nothing is left behind')
}

const file = (name: string, more: Partial<Node> = {}): Node => ({ name, content: 'x', ...more })

const hostile: readonly (readonly [string, readonly Node[], string, RegExp])[] = [
  ['a name that leads upwards', [file('a/../../escape')], 'invalid', /"a\/\.\.\/\.\.\/escape".*leads upwards/],
  ['an absolute name', [file('/etc/evil')], 'invalid', /"\/etc\/evil".*absolute/],
  ['a pax name that leads upwards', [file('ok', { pax: { path: '../escape' } })], 'invalid', /"\.\.\/escape"/],
  ['a NUL in a name', [file('ok', { pax: { path: 'a\0b' } })], 'invalid', /NUL/],
  [
    'a file behind a planted link',
    [{ name: 'out', type: '2', linkName: '/tmp' }, file('out/evil')],
    'invalid',
    /"out\/evil".*behind the link "out"/
  ],
  [
    'a folder behind a planted link',
    [
      { name: 'out', type: '2', linkName: '..' },
      { name: 'out/a/', type: '5' }
    ],
    'invalid',
    /behind the link/
  ],
  ['a file over a planted link', [{ name: 'out', type: '2', linkName: '/tmp/escape' }, file('out')], 'invalid', /"out".*twice/],
  [
    'a folder over a planted link',
    [
      { name: 'out', type: '2', linkName: '/tmp' },
      { name: 'out', type: '5' }
    ],
    'invalid',
    /"out".*twice/
  ],
  ['a hard link upwards', [{ name: 'h', type: '1', linkName: '../../../etc/shadow' }], 'invalid', /"h".*leads upwards/],
  ['an absolute hard link', [{ name: 'h', type: '1', linkName: '/etc/shadow' }], 'invalid', /"h".*absolute/],
  [
    'a hard link behind a link',
    [
      { name: 'l', type: '2', linkName: '/etc' },
      { name: 'h', type: '1', linkName: 'l/shadow' }
    ],
    'invalid',
    /behind the link/
  ],
  ['a hard link to nothing', [{ name: 'h', type: '1', linkName: 'nothing' }], 'invalid', /does not have before it/],
  [
    'a hard link to a folder',
    [
      { name: 'd/', type: '5' },
      { name: 'h', type: '1', linkName: 'd' }
    ],
    'invalid',
    /does not have before it/
  ],
  ['a hard link to itself', [{ name: 'h', type: '1', linkName: 'h' }], 'invalid', /itself/],
  ['a link to nothing', [{ name: 'l', type: '2' }], 'invalid', /link to nothing/],
  ['a name twice', [file('a'), file('./a')], 'invalid', /"\.\/a".*twice/],
  ['a file below a file', [file('a'), file('a/b')], 'invalid', /"a" is no directory/],
  ['a file below a fifo', [{ name: 'p', type: '6' }, file('p/b')], 'invalid', /"p" is no directory/],
  ['a folder over a file', [file('a'), { name: 'a/', type: '5' }], 'invalid', /twice/],
  ['a file as the root', [file('.')], 'invalid', /root of an image is a directory/],
  ['a name that is too long', [file('ok', { pax: { path: 'n'.repeat(300) } })], 'invalid', /too long/],
  ['a path that is too long', [file('ok', { pax: { path: 'nnn/'.repeat(1000) } })], 'invalid', /longer than 3072 bytes/],
  ['a GNU sparse file', [file('s', { type: 'S' })], 'unsupported', /"s" as a sparse file/],
  [
    'a pax sparse file',
    [file('s', { pax: { 'GNU.sparse.size': '99999999999999', 'GNU.sparse.major': '1' } })],
    'unsupported',
    /sparse/
  ],
  ['an unknown type', [file('s', { type: 'Z' })], 'unsupported', /unknown type "Z"/],
  ['a huge size', [file('s', { pax: { size: '9007199254740993' } })], 'corrupt', /damaged/],
  ['a huge owner', [file('s', { pax: { uid: '4294967295' } })], 'invalid', /owner/],
  ['a pax header of nonsense', [{ name: 'x', type: 'x', content: 'nonsense' }, file('a')], 'corrupt', /extended tar header/],
  ['a content that is cut off', [file('a', { size: 1_000_000 })], 'corrupt', /cut off/],
  [
    'a huge extended header',
    [{ name: 'x', type: 'x', size: 999_999_999, content: 'x' }],
    'invalid',
    /extended header of 999999999 bytes/
  ],
  ['nothing at all', [], 'invalid', /empty/]
]

t.test('a hostile archive is refused in one sentence that names the entry', { skip }, async (t) => {
  const directory = await scratch(t)
  for (const [at, [what, nodes, code, words]] of hostile.entries()) {
    const draft = join(directory, `${at}`)
    await mkdir(draft)
    const limits = { ...defaultImageLimits, reserveBytes: 0 }
    const request = {
      task: 'unpack' as const,
      draft,
      finished: directory,
      kind: 'rootfs' as const,
      name: 'bad:1',
      platform: { os: 'linux', architecture: 'amd64' },
      limits
    }
    const unpacking = new Unpacking(request, () => undefined).run(Readable.from([tarOf(nodes)]))
    await t.rejects(unpacking, { name: 'Fault', code, message: words }, what)
  }
})

t.test('a hostile archive leaves nothing in the store', { skip }, async (t) => {
  const bench = await storeBench(t)
  for (const [what, nodes, code, words] of hostile.filter((_, at) => at % 8 === 0)) {
    await t.test(what, (t) => refuses(t, bench, tarOf(nodes), code, words))
  }
})

t.test('an archive that another program wrote with a climbing name is refused as well', { skip }, async (t) => {
  const bench = await storeBench(t)
  const archive = pack()
  archive.entry({ name: '../../../../../../tmp/hearth-escaped' }, 'x')
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(Buffer.from(chunk as Buffer))
  await refuses(t, bench, Buffer.concat(chunks), 'invalid', /leads upwards/)
})

t.test('what is no archive, or a damaged one, is told apart', { skip }, async (t) => {
  const bench = await storeBench(t)
  const good = tarOf([file('a', { content: 'a'.repeat(5000) })])
  const flipped = Buffer.from(good)
  flipped[10] = 1
  const packed = gzipSync(good)
  await refuses(t, bench, Buffer.alloc(0), 'invalid', /empty/)
  await refuses(t, bench, Buffer.from('not a tar at all'.repeat(100)), 'invalid', /no tar archive/)
  await refuses(t, bench, flipped, 'invalid', /no tar archive/)
  await refuses(t, bench, Buffer.from('BZh91AY'), 'unsupported', /bzip2/)
  await refuses(t, bench, Buffer.from('\xfd7zXZ\0', 'latin1'), 'unsupported', /xz/)
  await refuses(t, bench, packed.subarray(0, packed.length - 20), 'corrupt', /gzip/)
  await refuses(t, bench, good.subarray(0, 512), 'corrupt', /cut off/)
  await refuses(t, bench, good.subarray(0, 512 * 11), 'corrupt', /cut off/)
  const zstd = await run('zstd', ['-c'], good)
  await refuses(t, bench, zstd.subarray(0, zstd.length - 8), 'corrupt', /zstd/)
})

t.test('attributes by which overlayfs would look elsewhere do not get in', { skip }, async (t) => {
  const { store, directory } = await storeBench(t)
  const archive = tarOf([
    {
      name: 'd/',
      type: '5',
      pax: { 'SCHILY.xattr.trusted.overlay.redirect': '/etc', 'SCHILY.xattr.trusted.overlay.opaque': 'y' }
    },
    file('d/f', {
      pax: {
        'SCHILY.xattr.trusted.overlay.metacopy': '',
        'SCHILY.xattr.user.overlay.redirect': 'x',
        'SCHILY.xattr.user.note': 'kept'
      }
    })
  ])
  const summary = await importBytes(store, archive, 'attributes')
  t.equal(summary.skippedAttributes, 4)
  const [layer = ''] = (await store.resolve('attributes', never)).layers
  await run('tar', ['-C', `${layer}/`, '--xattrs', '--xattrs-include=*', '-cf', join(directory, 'back.tar'), '.'])
  const back = await readFile(join(directory, 'back.tar'), 'latin1')
  t.match(back, /SCHILY\.xattr\.user\.note=kept/)
  t.notMatch(back, /overlay/)
})

t.test('a bomb ends at the limits', { skip }, async (t) => {
  const bench = await storeBench(t)
  const zeros = tarOf([file('zeros', { content: Buffer.alloc(8 * 1024 * 1024) })])
  const limited = async (limits: Parameters<Bench['open']>[0]): Promise<Bench> => ({ ...bench, store: await bench.open(limits) })
  await refuses(t, await limited({ unpackedBytes: 1_000_000 }), gzipSync(zeros), 'exhausted', /larger than 1000000 bytes/)
  await refuses(t, await limited({ ratio: 100, ratioFloorBytes: 1_000_000 }), gzipSync(zeros), 'exhausted', /more than 100 times/)
  await refuses(t, await limited({ archiveBytes: 1_000_000 }), zeros, 'exhausted', /archive is larger than 1000000/)
  await refuses(
    t,
    await limited({ entries: 3 }),
    tarOf(['a', 'b', 'c', 'd'].map((name) => file(name))),
    'exhausted',
    /more than 3 files/
  )
  await refuses(
    t,
    await limited({ entries: 50 }),
    tarOf([file('ok', { pax: { path: 'd/'.repeat(200).concat('f') } })]),
    'exhausted',
    /more than 50 files/
  )
  await refuses(t, await limited({ reserveBytes: Number.MAX_SAFE_INTEGER }), zeros, 'exhausted', /no space left/)
})

t.test('a full disk in the middle of unpacking leaves nothing', { skip }, async (t) => {
  const bench = await storeBench(t)
  const small = join(bench.directory, 'small')
  await mkdir(small)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', small])
  t.teardown(() => run('umount', [small]))
  const store = await openImageStore(
    { exec: systemExec, log: silentLog, clock: systemClock },
    {
      directory: join(small, 'store'),
      unpackProgram: bench.unpackProgram,
      limits: { ...defaultImageLimits, reserveBytes: 0 },
      registries: noRegistries,
      bootId: 'boot'
    }
  )
  const big = tarOf([file('a', { content: Buffer.alloc(3_000_000, 'a') }), file('b', { content: Buffer.alloc(3_000_000, 'b') })])
  await refuses(t, { ...bench, directory: small, store }, big, 'exhausted', /no space left/)
  const capable = { pax: { 'SCHILY.xattr.user.note': 'x' } }
  const special = tarOf([
    file('a', { content: Buffer.alloc(3_000_000, 'a'), ...capable }),
    file('b', { content: Buffer.alloc(3_000_000), ...capable })
  ])
  await refuses(t, { ...bench, directory: small, store }, special, 'exhausted', /no space left/)
  await importBytes(store, tarOf([file('a')]), 'fits')
  await writeFile(join(small, 'still-writable'), 'x')
})
