import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { LocalImageStore } from '../../../agent/images/local-store.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { Artifact } from '../../../proto/gen/messages.ts'
import { lyingRegistry } from '../../support/lying-registry.ts'
import { isRoot, never, run, sha256, tarOf } from './fixtures.ts'
import { type PullBench, pullBench } from './pull-bench.ts'

const skip = isRoot ? false : 'needs root: owners must be set'
const shared = skip ? undefined : await pullBench(t)
const bench = (): PullBench =>
  shared ??
  (() => {
    throw new Error('needs root')
  })()

const artifact = (of: Init<Artifact>): Artifact => completeMessage('Artifact', of)
const failed = (code: string, message: RegExp, reason = 'artifact_failed') => ({ code, message, detail: { reason } })
const patience = { stallMs: 400, slowMs: 400, leastBytesPerSecond: 2_048, attempts: 2, firstPauseMs: 1 }
let sandboxes = 0

/** Fetches and places them; tells where. */
async function placed(store: LocalImageStore, artifacts: readonly Init<Artifact>[]): Promise<string> {
  sandboxes += 1
  const folder = join(bench().directory, `sandbox-${sandboxes}`, 'files')
  const found = await store.artifacts.fetch(artifacts.map(artifact), never)
  await store.artifacts.place(found, { folder, uid: 4711, gid: 4712 }, never)
  return folder
}

/** What it serves by path; a store that may speak to it. */
async function served(t: Test, name: string, limits = {}) {
  const server = await lyingRegistry(t)
  const serve = (path: string, bytes: Buffer): string => {
    server.lies.set(path, (_, response) => void response.writeHead(200, { 'content-length': bytes.length }).end(bytes))
    return `http://${server.host}${path}`
  }
  const dockerConfig = join(bench().directory, `${name}.json`)
  const auth = Buffer.from('anna:secret').toString('base64')
  await writeFile(dockerConfig, JSON.stringify({ auths: { [server.host]: { auth } } }))
  const store = await bench().store(name, { insecure: [server.host], patience, dockerConfig }, limits)
  return { server, serve, store, basic: `Basic ${auth}` }
}

t.test('a file comes into the sandbox as its task’s own, and once where its digest is known', { skip }, async (t) => {
  const { server, serve, store } = await served(t, 'plain')
  const bytes = Buffer.from('#!/bin/sh\necho here\n')
  const url = serve('/files/tool.sh', bytes)
  const known = { url, sha256: sha256(bytes), executable: true, target: 'bin/deep/tool' }
  const folder = await placed(store, [known, { url }])
  const tool = await stat(join(folder, 'bin/deep/tool'))
  t.match({ mode: tool.mode & 0o7777, uid: tool.uid, gid: tool.gid }, { mode: 0o755, uid: 4711, gid: 4712 })
  t.equal((await stat(join(folder, 'bin/deep'))).uid, 4711)
  t.equal((await stat(join(folder, 'tool.sh'))).mode & 0o777, 0o644)
  t.same(await readFile(join(folder, 'tool.sh')), bytes)
  server.asked.length = 0
  await placed(store, [known])
  t.same(server.asked, [], 'from the store')
  await placed(store, [{ url }])
  t.same(server.asked, ['GET /files/tool.sh'], 'without a digest it is asked for again')
  t.same(await readdir(join(bench().directory, 'plain/artifacts')), [sha256(bytes)])
  t.equal(await store.artifacts.collect(60_000, Date.now()), 0)
  t.equal(await store.artifacts.collect(60_000, Date.now() + 120_000), bytes.length, 'what nobody uses goes')
})

t.test('a tar is unpacked by the rules of layers, and nothing of it is privileged', { skip }, async (t) => {
  const { serve, store } = await served(t, 'packed')
  const tar = tarOf([
    { name: 'site/', type: '5' },
    { name: 'site/index.html', content: 'hello', uid: 7, gid: 8 },
    { name: 'site/suid', content: 'x', mode: 0o6755 },
    { name: 'site/.wh.kept', content: 'no whiteout here' },
    { name: 'site/link', type: '2', linkName: '/etc/passwd' }
  ])
  const packed = await run('zstd', ['-c'], tar)
  for (const [path, bytes] of [
    ['/a.tar.gz', gzipSync(tar)],
    ['/a.tar.zst', packed],
    ['/a.tar', tar]
  ] as const) {
    const folder = await placed(store, [{ url: serve(path, bytes), sha256: sha256(bytes), unpack: true }])
    const site = join(folder, 'a/site')
    t.same(await readdir(site), ['.wh.kept', 'index.html', 'link', 'suid'], path)
    const suid = await stat(join(site, 'suid'))
    t.match({ mode: suid.mode & 0o7777, uid: suid.uid }, { mode: 0o755, uid: 4711 }, 'no set-user-id')
    const link = await lstat(join(site, 'link'))
    t.ok(link.isSymbolicLink() && link.uid === 4711)
  }
  const before = await readdir(join(bench().directory, 'packed/drafts'))
  for (const [nodes, words] of [
    [[{ name: '../escape', content: 'x' }], /leads upwards/],
    [
      [
        { name: 'd', type: '2', linkName: '/tmp' },
        { name: 'd/escape', content: 'x' }
      ],
      /behind the link/
    ],
    [[{ name: 'h', type: '1', linkName: '/etc/shadow' }], /absolute/]
  ] as const) {
    const url = serve('/evil.tar', tarOf(nodes))
    await t.rejects(placed(store, [{ url, unpack: true }]), failed('invalid', words))
  }
  await t.rejects(
    placed(store, [{ url: serve('/no.zip', Buffer.from('PK\x03\x04')), unpack: true }]),
    failed('invalid', /no tar archive/)
  )
  t.same(await readdir(join(bench().directory, 'packed/drafts')), before, 'nothing is left')
})

t.test('an artifact does not follow what another one has brought', { skip }, async (t) => {
  const { serve, store } = await served(t, 'planted')
  const url = serve('/a.tar', tarOf([{ name: 'out', type: '2', linkName: '/etc' }]))
  const file = serve('/file', Buffer.from('x'))
  for (const target of ['a/out/evil', 'a/out', 'a'])
    await t.rejects(
      placed(store, [
        { url, unpack: true },
        { url: file, target }
      ]),
      failed('invalid', /give it another place/),
      target
    )
})

t.test('a launch that an agent left half way begins with nothing of it', { skip }, async (t) => {
  const { serve, store } = await served(t, 'half-way')
  const found = await store.artifacts.fetch([artifact({ url: serve('/file', Buffer.from('x')) })], never)
  const place = { folder: join(bench().directory, 'half', 'files'), uid: 0, gid: 0 }
  await store.artifacts.place(found, place, never)
  await writeFile(join(place.folder, 'half'), '')
  await store.artifacts.place(found, place, never)
  t.same(await readdir(place.folder), ['file'])
})

t.test('what is not what the task asks for, or does not come, is refused with the reason', { skip }, async (t) => {
  const { server, serve, store } = await served(t, 'refused', { archiveBytes: 1_000 })
  const url = serve('/file', Buffer.from('other'))
  await t.rejects(
    placed(store, [{ url, sha256: '0'.repeat(64) }]),
    failed('corrupt', /is not what the task asks for: its sha256 is /)
  )
  await t.rejects(placed(store, [{ url: `http://${server.host}/absent?key=secret` }]), failed('not-found', /absent answers 404$/))
  await t.rejects(
    placed(store, [{ url: serve('/large', Buffer.alloc(2_000)) }]),
    failed('exhausted', /larger than the 1000 bytes/)
  )
  server.lies.set('/endless', (_, response) => {
    response.writeHead(200)
    const more = setInterval(() => response.write(Buffer.alloc(500)), 5)
    response.once('close', () => clearInterval(more))
  })
  await t.rejects(placed(store, [{ url: `http://${server.host}/endless` }]), failed('exhausted', /larger than the 1000 bytes/))
  server.lies.set('/silent', () => undefined)
  await t.rejects(placed(store, [{ url: `http://${server.host}/silent` }]), failed('timeout', /does not answer any more/))
  const plain = await bench().store('not-named', { patience })
  await t.rejects(placed(plain, [{ url }]), failed('denied', /without TLS/), 'what listens on this host alone is not for tasks')
  await t.rejects(placed(store, [{ url: 'file:///nonexistent' }]), failed('not-found', /cannot be read on this node/))
})

t.test('credentials go to the host that they are for, where it asks', { skip }, async (t) => {
  const { server, serve, store, basic } = await served(t, 'closed')
  const elsewhere = await lyingRegistry(t)
  const bytes = Buffer.from('closed')
  serve('/open', bytes)
  server.lies.set('/closed', ({ headers }, response) => {
    if (headers.authorization === basic) response.end(bytes)
    else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
  })
  server.lies.set('/away', ({ headers }, response) => {
    if (headers.authorization === basic) response.writeHead(307, { location: `http://${elsewhere.host}/trap` }).end()
    else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
  })
  elsewhere.lies.set('/trap', (_, response) => void response.end('x'))
  const url = (path: string): string => `http://${server.host}${path}`
  await placed(store, [{ url: url('/open') }, { url: url('/closed') }])
  t.same(server.asked, ['GET /open', 'GET /closed', `GET /closed ${basic}`])
  await t.rejects(
    placed(store, [{ url: url('/away') }]),
    failed('denied', /without TLS/),
    'nor is a redirect a way to other hosts'
  )
  const both = { insecure: [server.host, elsewhere.host], dockerConfig: join(bench().directory, 'closed.json'), patience }
  await placed(await bench().store('closed-both', both), [{ url: url('/away') }])
  t.same(elsewhere.asked, ['GET /trap'], 'without authorization')
})

t.test('one that was damaged in the store is refused once, and then fetched again', { skip }, async (t) => {
  const { serve, store } = await served(t, 'damaged')
  const bytes = Buffer.from('sound')
  const wanted = { url: serve('/file', bytes), sha256: sha256(bytes) }
  await placed(store, [wanted])
  await writeFile(join(bench().directory, 'damaged/artifacts', wanted.sha256), 'rotten')
  await t.rejects(placed(store, [wanted]), failed('corrupt', /damaged/))
  t.equal(await readFile(join(await placed(store, [wanted]), 'file'), 'utf8'), 'sound')
})

t.test('a file of the node is read as it lies there', { skip }, async (t) => {
  const folder = join(bench().directory, 'given')
  await mkdir(folder)
  await writeFile(join(folder, 'a file'), 'x')
  await chmod(join(folder, 'a file'), 0o600)
  await symlink('/etc/shadow', join(folder, 'link'))
  const store = await bench().store('of-node')
  const own = await placed(store, [{ url: `file://${folder}/a%20file` }])
  t.equal(await readFile(join(own, 'a file'), 'utf8'), 'x')
  await t.rejects(
    placed(store, [{ url: `file://${folder}/link` }]),
    failed('not-found', /ELOOP/),
    'the agent follows links before, and looks where they lead'
  )
  await t.rejects(placed(store, [{ url: `file://${folder}` }]), failed('invalid', /is no file/))
})
