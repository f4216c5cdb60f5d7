import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type Handler, type LyingRegistry, lyingRegistry } from '../../support/lying-registry.ts'
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
const tar = tarOf([{ name: 'file', content: 'x' }])
const secrets = { credentials: { username: 'anna', password: 'secret' } }
const basic = `Basic ${Buffer.from('anna:secret').toString('base64')}`

const wants =
  (header: string, opens: (authorization: string) => boolean, otherwise: Handler): Handler =>
  (request, response) => {
    if (opens(request.headers.authorization ?? '')) otherwise(request, response)
    else response.writeHead(401, { 'www-authenticate': header }).end('{}')
  }

/** Every path of `app` is behind this door. */
function close(registry: LyingRegistry, header: string, opens: (authorization: string) => boolean): void {
  for (const [path, { bytes, type }] of registry.holds) {
    const tells: Handler = (_, response) => void response.writeHead(200, { 'content-type': type }).end(bytes)
    registry.lies.set(`/v2/${path}`, wants(header, opens, tells))
  }
}

t.test('a token is bought where the registry says, once, for this repository', { skip }, async (t) => {
  const [registry, tokens] = [await lyingRegistry(t), await lyingRegistry(t)]
  plant(registry, tar)
  const header = `Bearer realm="http://${tokens.host}/token",service="reg, \\"1\\"",scope="repository:app:pull"`
  close(registry, header, (authorization) => authorization === 'Bearer abc')
  tokens.lies.set('/token', (_, response) => void response.end('{"token":"abc"}'))
  t.match(await pull(await bench().store('token-0'), `${registry.host}/app:1`), { layers: 1 })
  t.same(tokens.asked, ['GET /token?service=reg%2C+%221%22&scope=repository%3Aapp%3Apull'])
  tokens.asked.length = 0
  await pull(await bench().store('token-1'), `${registry.host}/app:1`, undefined, secrets)
  t.equal(tokens.asked.length, 1)
  t.match(tokens.asked[0], basic)
  const dockerConfig = join(bench().directory, 'identity.json')
  await writeFile(dockerConfig, JSON.stringify({ auths: { [registry.host]: { identitytoken: 'refresh-me' } } }))
  tokens.asked.length = 0
  let form = ''
  tokens.lies.set('/token', (request, response) => {
    request.on('data', (chunk: Buffer) => (form += chunk.toString()))
    request.on('end', () => response.end('{"access_token":"abc"}'))
  })
  await pull(await bench().store('token-2', { dockerConfig }), `${registry.host}/app:1`)
  t.same(tokens.asked, ['POST /token'])
  t.equal(new URLSearchParams(form).get('refresh_token'), 'refresh-me')
})

t.test('a registry that is never content with its own tokens is left', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  plant(registry, tar)
  const store = await bench().store('loop')
  close(registry, `Bearer realm="http://${registry.host}/token"`, () => false)
  registry.lies.set('/token', (_, response) => void response.end('{"token":"abc"}'))
  await t.rejects(pull(store, `${registry.host}/app:1`), { code: 'denied', message: /again and again/ })
  t.ok(registry.asked.length < 10, `${registry.asked.length} requests`)
  for (const [body, words] of [
    ['{}', /answers without a token/],
    ['{"token":"a\\r\\nx-evil: 1"}', /answers without a token/],
    ['no json', /answers without a token/]
  ] as const) {
    registry.lies.set('/token', (_, response) => void response.end(body))
    await t.rejects(pull(store, `${registry.host}/app:1`), { code: 'denied', message: words })
  }
  registry.lies.set('/token', (_, response) => void response.writeHead(401).end())
  await t.rejects(pull(store, `${registry.host}/app:1`), { code: 'denied', message: /opens app to nobody without credentials/ })
  for (const header of ['Digest realm="x"', '', 'Bearer realm="file:///etc/passwd"', 'Bearer realm=']) {
    close(registry, header, () => false)
    await t.rejects(pull(store, `${registry.host}/app:1`), { code: 'denied' }, header)
  }
})

t.test('credentials never follow to another host', { skip }, async (t) => {
  const [registry, elsewhere] = [await lyingRegistry(t), await lyingRegistry(t)]
  const { layer } = plant(registry, tar)
  close(registry, 'Basic realm="x"', (authorization) => authorization === basic)
  for (const [path, held] of registry.holds) elsewhere.holds.set(path, held)
  const away = (location: string): Handler =>
    wants(
      'Basic',
      (a) => a === basic,
      (_, response) => void response.writeHead(307, { location }).end()
    )
  registry.lies.set(`/v2/app/blobs/${layer.digest}`, away(`http://${elsewhere.host}/v2/app/blobs/${layer.digest}`))
  await pull(await bench().store('redirect-0'), `${registry.host}/app:1`, undefined, secrets)
  t.same(elsewhere.asked, [`GET /v2/app/blobs/${layer.digest}`], 'without authorization')
  const store = await bench().store('redirect-1')
  const refuses = async (location: string, words: RegExp, code = 'denied'): Promise<void> => {
    registry.lies.set(`/v2/app/blobs/${layer.digest}`, away(location))
    await t.rejects(pull(store, `${registry.host}/app:1`, undefined, secrets), { code, message: words }, location)
  }
  await refuses('http://elsewhere.invalid/blob', /without TLS/)
  await refuses('file:///etc/shadow', /no place to follow/)
  await refuses(`http://anna:secret@${elsewhere.host}/`, /no place to follow/)
  await refuses(`/v2/app/blobs/${layer.digest}`, /redirects in circles/, 'unavailable')
  // One who asks for a login elsewhere is not logged in to.
  elsewhere.asked.length = 0
  elsewhere.lies.set('/trap', (_, response) => void response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end('{}'))
  await refuses(`http://${elsewhere.host}/trap`, /answers 401/)
  t.same(elsewhere.asked, ['GET /trap'])
  close(registry, 'Bearer realm="http://tokens.invalid/"', () => false)
  await t.rejects(pull(store, `${registry.host}/app:1`, undefined, secrets), { code: 'denied', message: /they stay here/ })
})

t.test('only loopback and what the operator names is spoken to without TLS', { skip }, async (t) => {
  const store = await bench().store('plain')
  const patience = { ...(await import('./fixtures.ts')).noRegistries.patience, attempts: 1 }
  const mirrored = await bench().store('plain-mirror', {
    patience,
    dockerHub: false,
    mirrors: [{ registry: 'docker.io', endpoint: 'http://mirror.invalid:5000' }]
  })
  await t.rejects(pull(mirrored, 'debian:12'), { code: 'denied', message: /mirror\.invalid:5000 is to be spoken to without TLS/ })
  await t.rejects(pull(store, 'debian:12'), { code: 'not-found', message: /--docker-hub no/ })
})

t.test('a mirror is asked first, and what it has not or has wrong comes from the registry itself', { skip }, async (t) => {
  const [registry, mirror] = [await lyingRegistry(t), await lyingRegistry(t)]
  const { layer } = plant(registry, tar)
  for (const [path, held] of registry.holds) mirror.holds.set(path, held)
  const mirrors = [{ registry: registry.host, endpoint: `http://${mirror.host}` }]
  const name = `${registry.host}/app:1`
  await pull(await bench().store('mirror-0', { mirrors }), name)
  t.equal(registry.asked.length, 0)
  mirror.lies.set(`/v2/app/blobs/${layer.digest}`, (_, response) => void response.end(Buffer.alloc(layer.size, 'z')))
  await pull(await bench().store('mirror-1', { mirrors }), name)
  t.ok(registry.asked.some((line) => line.includes(layer.digest)))
  t.notOk(registry.asked.some((line) => line.includes('/manifests/')))
  mirror.lies.set('/v2/app/manifests/1', (_, response) => void response.writeHead(500).end())
  await pull(await bench().store('mirror-2', { mirrors }), name)
  t.ok(registry.asked.some((line) => line.includes('/manifests/')))
})

t.test('a registry behind TLS is believed with the authority that was given for it, and no other', { skip }, async (t) => {
  const [key, cert] = [join(bench().directory, 'key.pem'), join(bench().directory, 'cert.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  const form = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  await run('openssl', ['req', ...form, '-keyout', key, '-out', cert, ...subject])
  const registry = await lyingRegistry(t, { key: await readFile(key), cert: await readFile(cert) })
  plant(registry, tar)
  const store = await bench().store('tls-0')
  await t.rejects(pull(store, `${registry.host}/app:1`), { code: 'denied', message: /certs\.d\/127\.0\.0\.1:\d+\/ca\.crt/ })
  const certificates = join(bench().directory, 'certs')
  await mkdir(join(certificates, registry.host), { recursive: true })
  await writeFile(join(certificates, registry.host, 'ca.crt'), await readFile(cert))
  t.match(await pull(await bench().store('tls-1', { certificates: [certificates] }), `${registry.host}/app:1`), { layers: 1 })
})
