import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isDirect } from '../../../agent/images/registry/proxy.ts'
import { readProxy } from '../../../agent/images/registry-options.ts'
import { lyingRegistry } from '../../support/lying-registry.ts'
import { isRoot, run, tarOf } from './fixtures.ts'
import { plant } from './lies.ts'
import { type PullBench, pull, pullBench } from './pull-bench.ts'

const skip = isRoot ? false : 'needs root: owners and device nodes must be set'
const shared = skip ? undefined : await pullBench(t)
const bench = (): PullBench =>
  shared ??
  (() => {
    throw new Error('needs root')
  })()

interface Proxy {
  readonly address: string
  /** What it was asked for: where to, and by whom. */
  readonly asked: string[]
}

/** Opens ways to one port of loopback, whatever host it is asked for, to who has the right name and password. */
async function startProxy(t: Test, port: number): Promise<Proxy> {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer()
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    const authorization = request.headers['proxy-authorization'] ?? 'nobody'
    asked.push(`${request.url} ${authorization}`)
    if (authorization === 'nobody') return void client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
    const upstream = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.pipe(client).pipe(upstream)
    })
    for (const one of [client, upstream]) sockets.add(one.on('error', () => undefined))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const one of sockets) one.destroy()
    server.close()
  })
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

t.test('a registry is reached through a proxy, with TLS from end to end', { skip }, async (t) => {
  const { directory, store: open } = bench()
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const subject = ['-subj', '/CN=registry.test', '-addext', 'subjectAltName=DNS:registry.test']
  const form = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  await run('openssl', ['req', ...form, '-keyout', key, '-out', cert, ...subject])
  const registry = await lyingRegistry(t, { key: await readFile(key), cert: await readFile(cert) })
  plant(registry, tarOf([{ name: 'file', content: 'x' }]))
  const certificates = [join(directory, 'certs')]
  await mkdir(join(directory, 'certs/registry.test'), { recursive: true })
  await writeFile(join(directory, 'certs/registry.test/ca.crt'), await readFile(cert))
  const proxy = await startProxy(t, Number(registry.host.split(':')[1]))

  const store = (name: string, url: string, direct: readonly string[] = []) =>
    open(name, { certificates }, {}, 'boot', { url, direct })
  const known = `http://anna:s%40cret@${proxy.address}`
  t.match(await pull(await store('through', known), 'registry.test/app:1'), { layers: 1 })
  const basic = `Basic ${Buffer.from('anna:s@cret').toString('base64')}`
  t.same([...new Set(proxy.asked)], [`registry.test:443 ${basic}`], 'the proxy looks the name up')
  t.ok(registry.asked.length > 0)
  t.notOk(
    registry.asked.some((line) => line.includes('Basic')),
    'what is for the proxy stays there'
  )

  const failing = {
    patience: { stallMs: 5_000, slowMs: 5_000, leastBytesPerSecond: 1, attempts: 1, firstPauseMs: 1 },
    certificates
  }
  const fail = async (name: string, url: string, direct: readonly string[] = []) =>
    pull(await open(name, failing, {}, 'boot', { url, direct }), 'registry.test/app:1')
  await t.rejects(fail('unknown', `http://${proxy.address}`), {
    code: 'denied',
    message: /the proxy \S+ wants a name and password/
  })
  await t.rejects(fail('dead', 'http://127.0.0.1:9'), {
    code: 'unavailable',
    message: /the proxy 127\.0\.0\.1:9 cannot be reached/
  })
  const before = proxy.asked.length
  await t.rejects(fail('direct', known, ['.test']), { code: 'unavailable', message: /registry\.test cannot be reached/ })
  t.equal(proxy.asked.length, before, 'NO_PROXY goes by it')
})

t.test('who is spoken to without the proxy is read as NO_PROXY has it', async (t) => {
  const is = (direct: string, url: string) => isDirect({ direct: direct.split(',') }, new URL(url))
  for (const [direct, url] of [
    ['example.com', 'https://example.com/'],
    ['example.com', 'https://reg.example.com/'],
    ['.example.com', 'https://reg.Example.com:5000/'],
    ['*.example.com', 'https://reg.example.com/'],
    ['a,reg.example:5000', 'https://reg.example:5000/'],
    ['reg.example:443', 'https://reg.example/'],
    ['10.0.0.1', 'https://10.0.0.1/'],
    ['*', 'https://anything/']
  ] as const)
    t.ok(is(direct, url), `${direct} ${url}`)
  for (const [direct, url] of [
    ['example.com', 'https://badexample.com/'],
    ['reg.example:5000', 'https://reg.example/'],
    ['', 'https://reg.example/']
  ] as const)
    t.notOk(is(direct, url), `${direct} ${url}`)
  const settings: Readonly<Record<string, string>> = { 'https-proxy': 'http://p:1', 'no-proxy': 'a, b' }
  t.same(
    readProxy((flag) => settings[flag] ?? ''),
    { url: 'http://p:1', direct: ['a', 'b'] }
  )
  t.equal(
    readProxy(() => ''),
    undefined
  )
})
