import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { defaultImageLimits } from '../../../agent/images/limits.ts'
import { Unpacking } from '../../../agent/images/unpack.ts'
import type { ArchiveKind } from '../../../agent/images/unpack-message.ts'
import { isFault } from '../../../base/fault.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { archiveOf, contentOf, importBytes, isRoot, type Node, ociLayout, scratch, storeBench, tarOf } from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const runs = fuzzRuns(150)

const layer = tarOf([
  { name: 'bin/', type: '5' },
  { name: 'bin/sh', content: 'program', mode: 0o755, pax: { 'SCHILY.xattr.user.a': 'b' } },
  { name: 'bin/same', type: '1', linkName: 'bin/sh' },
  { name: 'etc/link', type: '2', linkName: '../bin/sh' },
  { name: 'etc/.wh.gone' }
])
const oci = ociLayout([layer], { pack: (bytes) => gzipSync(bytes) })
const docker = new Map([
  ['c.json', Buffer.from(JSON.stringify({ rootfs: { type: 'layers', diff_ids: oci.diffIds } }))],
  ['l.tar', layer],
  ['manifest.json', Buffer.from(JSON.stringify([{ Config: 'c.json', RepoTags: ['a:b'], Layers: ['l.tar'] }]))]
])
const valid: readonly (readonly [ArchiveKind, Buffer])[] = [
  ['rootfs', layer],
  ['auto', gzipSync(layer)],
  ['auto', archiveOf(oci.files)],
  ['docker-archive', archiveOf(docker)]
]

interface Damage {
  readonly kind: 'flip' | 'cut' | 'insert' | 'repeat'
  readonly at: number
  readonly byte: number
}

const damages = fc.array(
  fc.record({
    kind: fc.constantFrom('flip' as const, 'cut' as const, 'insert' as const, 'repeat' as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    byte: fc.integer({ min: 0, max: 255 })
  }),
  { minLength: 1, maxLength: 4 }
)

function damage(bytes: Buffer, all: readonly Damage[]): Buffer {
  let out = Buffer.from(bytes)
  for (const { kind, at, byte } of all) {
    const offset = Math.floor(at * out.length)
    const block = offset - (offset % 512)
    if (kind === 'flip' && out.length > 0) out[Math.min(offset, out.length - 1)] = byte
    if (kind === 'cut') out = out.subarray(0, offset)
    if (kind === 'insert') out = Buffer.concat([out.subarray(0, offset), Buffer.alloc(byte, byte), out.subarray(offset)])
    if (kind === 'repeat') out = Buffer.concat([out.subarray(0, block + 512), out.subarray(block)])
  }
  return out
}

/** Unpacks into a folder between two others, and looks whether anything but that folder changed. */
async function unpackBetween(t: { readonly directory: string }, archive: Buffer, kind: ArchiveKind): Promise<void> {
  const draft = join(t.directory, 'draft')
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft)
  const limits = { ...defaultImageLimits, reserveBytes: 0, unpackedBytes: 1_000_000, entries: 1_000 }
  const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch }
  const request = { task: 'unpack' as const, draft, finished: join(t.directory, 'none'), kind, name: 'fuzz:1', platform, limits }
  await new Unpacking(request, () => undefined).run(Readable.from([archive])).catch((e: unknown) => {
    if (!isFault(e)) throw e
  })
  const around = (await readdir(t.directory)).sort().join()
  if (around !== 'canary,draft') throw new Error(`something was made outside: ${around}`)
  if ((await readFile(join(t.directory, 'canary/file'), 'utf8')) !== 'canary') throw new Error('the canary was changed')
  if ((await readdir(join(t.directory, 'canary'))).length !== 1) throw new Error('something was made beside the canary')
}

async function cage(directory: string): Promise<{ readonly directory: string }> {
  await mkdir(join(directory, 'canary'))
  await writeFile(join(directory, 'canary/file'), 'canary')
  return { directory }
}

t.test('a damaged archive is unpacked or refused with a Fault, and never reaches outside', { skip }, async (t) => {
  const place = await cage(await scratch(t))
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...valid), damages, ([kind, bytes], all) => unpackBetween(place, damage(bytes, all), kind)),
    { numRuns: runs }
  )
})

t.test('random bytes are refused with a Fault', { skip }, async (t) => {
  const place = await cage(await scratch(t))
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 4096 }),
      fc.constantFrom('', '\x1f\x8b\x08', '\x28\xb5\x2f\xfd'),
      (bytes, magic) => unpackBetween(place, Buffer.concat([Buffer.from(magic, 'latin1'), bytes]), 'auto')
    ),
    { numRuns: runs }
  )
})

const names = fc
  .array(
    fc.constantFrom(
      'a',
      'b',
      'out',
      '.',
      '..',
      '',
      'canary',
      'file',
      '.wh.a',
      '.wh..wh..opq',
      '.wh.',
      '.wh...',
      'é',
      '\n',
      '-x',
      '*'
    ),
    { maxLength: 5 }
  )
  .map((parts) => parts.join('/'))

const node: fc.Arbitrary<Node> = fc.record({
  name: names,
  type: fc.constantFrom('0', '0', '1', '2', '2', '3', '5', '5', '6', 'S', 'L', 'K', 'g'),
  linkName: fc.oneof(names, fc.constantFrom('/', '/tmp', '../..', '../../canary', '../../canary/file', 'out')),
  content: fc.constantFrom('', 'x', '../../../escape'),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  pax: fc.constantFrom<Readonly<Record<string, string>>>(
    {},
    {},
    { path: '../../canary/file' },
    { path: 'out/file' },
    { linkpath: '../../../canary/file' },
    { 'SCHILY.xattr.user.x': 'y' },
    { 'SCHILY.xattr.trusted.overlay.opaque': 'y' }
  )
})

t.test('no order of links, folders and files reaches outside', { skip }, async (t) => {
  const place = await cage(await scratch(t))
  const config = (bytes: Buffer) => archiveOf(ociLayout([bytes]).files)
  await fc.assert(
    fc.asyncProperty(fc.array(node, { maxLength: 8 }), fc.boolean(), (nodes, stacked) =>
      unpackBetween(place, stacked ? config(tarOf(nodes)) : tarOf(nodes), stacked ? 'oci' : 'rootfs')
    ),
    { numRuns: runs * 2 }
  )
})

t.test('through the child, a damaged archive leaves the store as it was', { skip }, async (t) => {
  const { store, storeDirectory } = await storeBench(t)
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...valid), damages, async ([kind, bytes], all) => {
      const before = await contentOf(storeDirectory)
      const failure: unknown = await importBytes(store, damage(bytes, all), 'fuzz:1', kind).then(
        () => undefined,
        (e: unknown) => e
      )
      if (failure === undefined) return
      if (!isFault(failure)) throw failure
      const after = await contentOf(storeDirectory)
      if (after !== before) throw new Error(`left behind:\n${after}\ninstead of\n${before}`)
    }),
    { numRuns: 6 }
  )
})
