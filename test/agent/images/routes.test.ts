import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { imageRoutes } from '../../../agent/images/routes.ts'
import type { LocalResponse } from '../../../agent/ports.ts'
import { channels, StreamFrameDecoder, streamContentType } from '../../../proto/stream-frame.ts'
import { contentOf, isRoot, namesIn, never, storeBench, tarOf } from './fixtures.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const archive = tarOf([{ name: 'bin/sh', content: 'x' }])

async function bodyOf(response: LocalResponse | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of response?.body ?? []) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function bench(t: Test) {
  const { store, storeDirectory } = await storeBench(t)
  const used = new Set<string>()
  const routes = imageRoutes(store, () => used)
  const ask = (method: string, url: string, body: AsyncIterable<Uint8Array> = Readable.from([])) =>
    routes({ method, url, body }, never)
  const json = async (method: string, url: string) =>
    JSON.parse((await bodyOf(await ask(method, url))).toString()) as Record<string, unknown>
  const frames = async (url: string, body: AsyncIterable<Uint8Array>) => {
    const response = await ask('POST', url, body)
    t.match(response, { status: 200, contentType: streamContentType })
    return new StreamFrameDecoder()
      .push(await bodyOf(response))
      .map(({ channel, data }) => ({ channel, value: JSON.parse(Buffer.from(data).toString()) as Record<string, unknown> }))
  }
  return { store, storeDirectory, used, ask, json, frames }
}

t.test('an import answers with progress and ends with the image', { skip }, async (t) => {
  const { frames, json, ask } = await bench(t)
  const all = await frames('/v1/images?name=shop%2Fweb%3A1&kind=rootfs', Readable.from([archive]))
  t.match(all.at(-1), { channel: channels.end, value: { image: { name: 'shop/web:1', kind: 'rootfs' } } })
  t.ok(all.slice(0, -1).every((frame) => frame.channel === channels.progress && typeof frame.value['archiveBytes'] === 'number'))
  t.match(await json('GET', '/v1/images'), { images: [{ name: 'host' }, { name: 'shop/web:1' }] })
  t.match(await json('GET', '/v1/images/shop%2Fweb%3A1'), { name: 'shop/web:1', layerDigests: [/^sha256:/] })
  t.match(await json('GET', '/v1/images/host'), { kind: 'host' })
  t.equal(await ask('GET', '/v1/tasks'), undefined)
})

t.test('a bad archive ends the stream with the error, a bad request never begins one', { skip }, async (t) => {
  const { frames, ask, storeDirectory } = await bench(t)
  const before = await contentOf(storeDirectory)
  const all = await frames('/v1/images?name=x', Readable.from([archive.subarray(0, 600)]))
  t.match(all.at(-1), { channel: channels.end, value: { error: { code: 'corrupt', message: /cut off/ } } })
  await t.rejects(ask('POST', '/v1/images?name=NO'), { code: 'invalid' })
  await t.rejects(ask('POST', '/v1/images?name=x&kind=iso'), { code: 'invalid', message: /rootfs, oci, docker-archive/ })
  await t.rejects(ask('GET', '/v1/images/%zz'), { code: 'invalid' })
  await t.rejects(ask('GET', '/v1/images/nothing'), { code: 'not-found' })
  await t.rejects(ask('PUT', '/v1/images/x'), { code: 'unsupported' })
  t.equal(await contentOf(storeDirectory), before)
})

t.test('an image in use is not removed, a free one is, with its layers', { skip }, async (t) => {
  const { frames, ask, json, used, storeDirectory } = await bench(t)
  const [end] = (await frames('/v1/images?name=x', Readable.from([archive]))).slice(-1)
  const image = end?.value['image'] as { digest: string }
  used.add(image.digest)
  await t.rejects(ask('DELETE', '/v1/images/x%3Alatest'), { code: 'conflict', message: /x:latest is in use/ })
  await frames('/v1/images?name=y', Readable.from([archive]))
  t.match(await ask('DELETE', '/v1/images/y'), { status: 204 }, 'another name is left')
  used.clear()
  t.match(await ask('DELETE', '/v1/images/x'), { status: 204 })
  t.same(await namesIn(`${storeDirectory}/layers`), [])
  t.match(await json('POST', '/v1/images/collect'), { collected: { layers: 0, blobs: 0, bytes: 0 } })
  await t.rejects(ask('DELETE', '/v1/images/host'), { code: 'invalid' })
})

t.test('a reader that goes away ends the import', { skip }, async (t) => {
  const { ask, storeDirectory } = await bench(t)
  const before = await contentOf(storeDirectory)
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    yield tarOf([{ name: 'a', content: Buffer.alloc(100_000), size: 100_000_000 }])
    await new Promise<void>(() => undefined)
  }
  const response = await ask('POST', '/v1/images?name=x&kind=rootfs', endless())
  for await (const frame of response?.body ?? []) {
    t.ok(frame.length > 0)
    break
  }
  t.equal(await contentOf(storeDirectory), before)
})

t.test('a pull, a look and a pruning are asked for by routes of their own', { skip }, async (t) => {
  const { frames, json, ask, used } = await bench(t)
  const none = Readable.from([])
  const [failed] = (await frames('/v1/images/pull?reference=127.0.0.1:9%2Fapp:1', none)).slice(-1)
  t.match(failed, { channel: channels.end, value: { error: { code: 'unavailable', message: /nobody listens there/ } } })
  const [hub] = (await frames('/v1/images/pull?reference=debian', Readable.from([Buffer.from('{}')]))).slice(-1)
  t.match(hub?.value, { error: { code: 'not-found', message: /--docker-hub no/ } })
  const pullWith = (body: string, name = 'a.b%2Fapp') =>
    ask('POST', `/v1/images/pull?reference=${name}`, Readable.from([Buffer.from(body)]))
  for (const body of ['x', '[]', '{"username":"a"}', '{"username":1,"password":"x"}', '{"username":"a:b","password":"x"}', '"x"'])
    await t.rejects(pullWith(body), { code: 'invalid', message: /username/ }, body)
  await t.rejects(pullWith('x'.repeat(20_000)), { code: 'invalid', message: /16384 bytes/ })
  await t.rejects(pullWith('', 'host'), { code: 'invalid' })
  await t.rejects(pullWith('', ''), { code: 'invalid' })
  await frames('/v1/images?name=x', Readable.from([archive]))
  const [looked] = (await frames('/v1/images/verify?reference=x', none)).slice(-1)
  t.match(looked?.value, { verdict: { image: 'x:latest', layers: 1, damage: [], repaired: false } })
  t.match((await frames('/v1/images/verify?reference=host', none)).at(-1)?.value, { verdict: { layers: 0, damage: [] } })
  await t.rejects(ask('POST', '/v1/images/verify?reference=absent'), { code: 'not-found' })
  await t.rejects(ask('POST', '/v1/images/prune?unusedMs=soon'), { code: 'invalid' })
  t.match(await json('POST', '/v1/images/prune?imported=true&unusedMs=3600000'), { pruned: { images: [], layers: 0 } })
  used.add((await json('GET', '/v1/images/x'))['digest'] as string)
  t.match(await json('POST', '/v1/images/prune?imported=true'), { pruned: { images: [] } })
  used.clear()
  t.match(await json('POST', '/v1/images/prune?imported=true'), { pruned: { images: ['x:latest'], layers: 1 } })
})
