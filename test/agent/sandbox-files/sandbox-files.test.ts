import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { extract, type Header, pack } from 'tar-stream'
import { listFiles } from '../../../agent/sandbox-files/list.ts'
import { readArchive } from '../../../agent/sandbox-files/read-archive.ts'
import { writeArchive } from '../../../agent/sandbox-files/write-archive.ts'

const never = new AbortController().signal
const secret = 'the secret of the host'

/** A sandbox beside a folder of the host that nobody may reach from it. */
function makeSandbox(t: Test): { readonly root: string; readonly outside: string } {
  const home = mkdtempSync(join(tmpdir(), 'hearth-files-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const [root, outside] = [join(home, 'files'), join(home, 'outside')]
  for (const dir of [root, outside]) mkdirSync(dir)
  writeFileSync(join(outside, 'secret'), secret)
  return { root, outside }
}

async function bytesOf(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function entriesOf(tar: Buffer): Promise<Map<string, { readonly header: Header; readonly body: string }>> {
  const reader = extract()
  reader.end(tar)
  const found = new Map<string, { header: Header; body: string }>()
  for await (const entry of reader) {
    let body = ''
    for await (const chunk of entry) body += String(chunk)
    found.set(entry.header.name, { header: entry.header, body })
  }
  return found
}

async function* tarOf(
  ...rows: readonly (readonly [Partial<Header> & Pick<Header, 'name'>, string?])[]
): AsyncGenerator<Uint8Array> {
  const writer = pack()
  for (const [header, body] of rows) writer.entry(header, body ?? '')
  writer.finalize()
  for await (const chunk of writer) yield chunk as Uint8Array
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

t.test('a folder is listed with kinds, sizes and modes', async (t) => {
  const { root, outside } = makeSandbox(t)
  mkdirSync(join(root, 'dir'))
  writeFileSync(join(root, 'dir/file'), 'hello')
  chmodSync(join(root, 'dir/file'), 0o640)
  symlinkSync(outside, join(root, 'dir/link'))
  execFileSync('mkfifo', [join(root, 'dir/pipe')])
  const { entries, truncated } = await listFiles(root, '/dir/')
  t.equal(truncated, false)
  t.same(
    entries.map(({ name, kind }) => [name, kind]),
    [
      ['file', 'file'],
      ['link', 'link'],
      ['pipe', 'other']
    ]
  )
  t.match(entries[0], { bytes: 5, mode: 0o640 })
  t.match(await listFiles(root, 'dir/file'), { entries: [{ name: 'file', kind: 'file' }] })
  t.match(await listFiles(root, 'dir/link'), { entries: [{ name: 'link', kind: 'link' }] })
  t.match(await listFiles(root, ''), { entries: [{ name: 'dir', kind: 'folder' }] })
  await t.rejects(listFiles(root, 'nothing/here'), { code: 'not-found' })
  await t.rejects(listFiles(join(root, 'no-sandbox'), ''), { code: 'not-found' })
})

t.test('no path leads out of the sandbox', async (t) => {
  const { root, outside } = makeSandbox(t)
  symlinkSync(outside, join(root, 'out'))
  symlinkSync('..', join(root, 'up'))
  symlinkSync(join(outside, 'secret'), join(root, 'file'))
  for (const path of ['../outside', 'out/../../outside', '..', 'a/../../x', 'up/outside/secret', 'out/secret', 'out/x']) {
    const refused = { name: 'Fault', code: /invalid|denied/ }
    await t.rejects(listFiles(root, path), refused, `list ${path}`)
    await t.rejects(readArchive(root, path, never), refused, `read ${path}`)
    await t.rejects(writeArchive(root, path, tarOf([{ name: 'planted' }, 'x']), never), refused, `write ${path}`)
  }
  await t.rejects(writeArchive(root, 'out', tarOf([{ name: 'planted' }, 'x']), never), { code: 'denied' })
  await t.rejects(listFiles(root, 'a\0b'), { code: 'invalid' })
  const found = await entriesOf(await bytesOf(await readArchive(root, 'file', never)))
  t.equal(found.get('file')?.header.type, 'symlink')
  t.equal(found.get('file')?.body, '')
  t.same(readdirSync(outside), ['secret'])
})

t.test('an archive holds files, folders and links, and nothing that could block', async (t) => {
  const { root } = makeSandbox(t)
  mkdirSync(join(root, 'd/e'), { recursive: true })
  writeFileSync(join(root, 'd/e/big'), 'z'.repeat(300_000))
  writeFileSync(join(root, 'd/run'), '#!', { mode: 0o755 })
  writeFileSync(join(root, 'd/empty'), '')
  symlinkSync('e/big', join(root, 'd/link'))
  execFileSync('mkfifo', [join(root, 'd/pipe')])
  const found = await entriesOf(await bytesOf(await readArchive(root, 'd', never)))
  t.same([...found.keys()].sort(), ['d/', 'd/e/', 'd/e/big', 'd/empty', 'd/link', 'd/run'])
  t.equal(found.get('d/e/big')?.body.length, 300_000)
  t.equal(found.get('d/run')?.header.mode, 0o755)
  t.match(found.get('d/link')?.header, { type: 'symlink', linkname: 'e/big' })
  const all = await entriesOf(await bytesOf(await readArchive(root, '', never)))
  t.ok(all.has('./d/e/big'))
  await t.rejects(readArchive(root, 'd/pipe', never), { code: 'invalid' })
  await t.rejects(readArchive(root, 'd/none', never), { code: 'not-found' })
})

t.test('an archive that is cancelled ends', async (t) => {
  const { root } = makeSandbox(t)
  writeFileSync(join(root, 'big'), Buffer.alloc(5_000_000))
  const stop = new AbortController()
  const body = await readArchive(root, 'big', stop.signal)
  await t.rejects(async () => {
    for await (const chunk of body) if (chunk.length > 0) stop.abort(new Error('enough'))
  })
})

t.test('what is copied in appears whole, with the owner of the sandbox and without set-user-id', async (t) => {
  const { root } = makeSandbox(t)
  mkdirSync(join(root, 'in'))
  writeFileSync(join(root, 'in/old'), 'old')
  const written = await writeArchive(
    root,
    'in',
    tarOf(
      [{ name: 'a/', type: 'directory', mode: 0o750 }],
      [{ name: 'a/b/c', mode: 0o4755, uid: 12, gid: 12 }, 'hello'],
      [{ name: './old', mode: 0o600 }, 'new'],
      [{ name: 'l', type: 'symlink', linkname: '/etc/passwd' }]
    ),
    never
  )
  t.same(written, { entries: 4, bytes: 8 })
  t.equal(readFileSync(join(root, 'in/a/b/c'), 'utf8'), 'hello')
  t.equal(readFileSync(join(root, 'in/old'), 'utf8'), 'new')
  t.equal(lstatSync(join(root, 'in/a/b/c')).mode & 0o7777, 0o755)
  t.equal(lstatSync(join(root, 'in/a/b/c')).uid, lstatSync(root).uid)
  t.equal(lstatSync(join(root, 'in/a')).mode & 0o777, 0o750)
  t.equal(readlinkSync(join(root, 'in/l')), '/etc/passwd')
  t.same(readdirSync(join(root, 'in')).sort(), ['a', 'l', 'old'])
})

t.test('a hostile archive writes nothing outside', async (t) => {
  const { root, outside } = makeSandbox(t)
  const hostile: readonly (readonly [string, AsyncIterable<Uint8Array>])[] = [
    ['goes up', tarOf([{ name: '../outside/planted' }, 'x'])],
    ['goes up later', tarOf([{ name: 'a/../../outside/planted' }, 'x'])],
    ['goes through its own link', tarOf([{ name: 'l', type: 'symlink', linkname: outside }], [{ name: 'l/planted' }, 'x'])],
    ['is a hard link', tarOf([{ name: 'h', type: 'link', linkname: join(outside, 'secret') }])],
    ['is a device', tarOf([{ name: 'dev', type: 'character-device' }])],
    ['is a fifo', tarOf([{ name: 'pipe', type: 'fifo' }])],
    ['is no tar', only(Buffer.alloc(2048, 'x'))],
    ['ends in the middle', only((await bytesOf(tarOf([{ name: 'f' }, 'x'.repeat(5000)]))).subarray(0, 2000))]
  ]
  for (const [what, tar] of hostile) await t.rejects(writeArchive(root, '', tar, never), { name: 'Fault' }, what)
  t.same(readdirSync(outside), ['secret'])
  t.equal(readFileSync(join(outside, 'secret'), 'utf8'), secret)
  t.same(
    readdirSync(root).filter((name) => name.startsWith('.hearth')),
    [],
    'no draft stays'
  )
  await writeArchive(root, '', tarOf([{ name: '/etc/absolute' }, 'x']), never)
  t.ok(existsSync(join(root, 'etc/absolute')), 'an absolute name begins at the sandbox')
  mkdirSync(join(root, 'folder'))
  await t.rejects(writeArchive(root, '', tarOf([{ name: 'folder' }, 'x']), never), { code: 'conflict' })
})

t.test('random bytes are refused or taken as an empty archive', async (t) => {
  const { root } = makeSandbox(t)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (bytes) => {
      await writeArchive(root, '', only(bytes), never).catch((e: unknown) => {
        if (!(e instanceof Error) || e.name !== 'Fault') throw e
      })
    }),
    { numRuns: 100 }
  )
  t.pass('nothing but Faults')
})

/** Swaps a folder of the sandbox for a link out of it and back, as fast as it can. */
const swapper = `
  const { workerData, parentPort } = require('node:worker_threads')
  const { renameSync, symlinkSync, rmSync } = require('node:fs')
  const { root, outside, flag } = workerData
  symlinkSync(outside, root + '/link')
  parentPort.postMessage('ready')
  while (Atomics.load(flag, 0) === 0) {
    try {
      renameSync(root + '/dir', root + '/aside')
      renameSync(root + '/link', root + '/dir')
      renameSync(root + '/dir', root + '/link')
      renameSync(root + '/aside', root + '/dir')
    } catch {
      // An archive made a folder where there was none for a moment.
      for (let again = true; again; ) {
        try {
          rmSync(root + '/dir', { recursive: true, force: true })
          renameSync(root + '/aside', root + '/dir')
          again = false
        } catch {} // and once more: it is quick
      }
    }
  }
`

t.test('a task that swaps folders for links while we look wins nothing', async (t) => {
  const { root, outside } = makeSandbox(t)
  mkdirSync(join(root, 'dir'))
  writeFileSync(join(root, 'dir/secret'), 'harmless')
  const flag = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(swapper, { eval: true, workerData: { root, outside, flag } })
  t.teardown(() => worker.terminate())
  await once(worker, 'message')
  let [got, refused] = [0, 0]
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work()
      got += 1
    } catch (e) {
      if (!(e instanceof Error) || e.name !== 'Fault') throw e
      refused += 1
    }
  }
  for (let i = 0; i < 300; i += 1) {
    await attempt(async () => {
      const tar = await bytesOf(await readArchive(root, 'dir', never))
      t.notOk(tar.includes(secret), 'read')
    })
    await attempt(async () => void (await writeArchive(root, 'dir', tarOf([{ name: 'planted' }, 'x']), never)))
    await attempt(async () => void (await writeArchive(root, '', tarOf([{ name: 'dir/planted' }, 'x']), never)))
    await attempt(async () => {
      const { entries } = await listFiles(root, 'dir/secret')
      t.not(entries[0]?.bytes, secret.length, 'list')
    })
  }
  Atomics.store(flag, 0, 1)
  t.same(readdirSync(outside), ['secret'], 'nothing was planted')
  t.ok(got > 0 && refused > 0, `both happened: ${got} went through, ${refused} were refused`)
})
