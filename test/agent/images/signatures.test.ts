import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import type { LocalImageStore } from '../../../agent/images/local-store.ts'
import { usualPatience } from '../../../agent/images/registry/settings.ts'
import { signatureRefusal } from '../../../agent/images/signature.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { SignatureRule } from '../../../proto/gen/messages.ts'
import { signatureRules } from '../../../proto/tenant-policy.ts'
import { payloadOf, pushSignatures, type Signed, signatureOf, signed } from '../../support/image-signer.ts'
import { lyingRegistry } from '../../support/lying-registry.ts'
import { startRegistry } from '../../support/registry.ts'
import { isRoot, never, ociLayout, run, sha256, tarOf } from './fixtures.ts'
import { plant } from './lies.ts'
import { pull, pullBench } from './pull-bench.ts'

const skip = isRoot ? false : 'needs root: owners must be set'
const bench = skip ? undefined : await pullBench(t)
const registry = skip ? undefined : await startRegistry(t)
const here = <T>(one: T | undefined): T =>
  one ??
  (() => {
    throw new Error('needs root')
  })()

interface Pair {
  readonly own: KeyObject
  readonly pem: string
}

const asPair = ({ privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject }): Pair => ({
  own: privateKey,
  pem: publicKey.export({ type: 'spki', format: 'pem' }) as string
})
const kinds: Readonly<Record<string, Pair>> = {
  'ECDSA on P-256': asPair(generateKeyPairSync('ec', { namedCurve: 'prime256v1' })),
  Ed25519: asPair(generateKeyPairSync('ed25519')),
  RSA: asPair(generateKeyPairSync('rsa', { modulusLength: 2_048 }))
}
const key = here(kinds['ECDSA on P-256'])
const stranger = asPair(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }))

const rules = (...given: readonly Init<SignatureRule>[]) => completeMessage('TenantPolicy', { signatures: [...given] }).signatures
const by = ({ pem }: Pair, more: Init<SignatureRule> = {}) => rules({ images: '*', keys: [pem], ...more })

/** What a launch says: what is here of the image after it was asked for under these rules. */
async function launched(
  store: LocalImageStore,
  name: string,
  asked: readonly SignatureRule[],
  policy: 'missing' | 'never' = 'missing'
): Promise<string | undefined> {
  await store.fetch(name, { policy, signatures: asked, onProgress: () => undefined }, never)
  const { reference, digest, roots = [digest], signatures = [] } = await store.resolve(name, never)
  return signatureRefusal(signatureRules({ signatures: [...asked] }, reference), { reference, roots, signatures })
}

/** What is packed already is pushed as it is. */
const pack = (layer: Buffer): Buffer => gzipSync(layer)
let images = 0

/** A new image in the registry, with what of it counts for signing. */
async function pushed(): Promise<{ readonly name: string; readonly digest: string; readonly repository: string }> {
  images += 1
  const image = ociLayout([tarOf([{ name: 'which', content: String(images) }])], { pack })
  const path = `signed/i${images}`
  const { push, host } = here(registry)
  await push(await here(bench).layout(`image-${images}`, image), `${path}:1`)
  return { name: `${host}/${path}:1`, digest: image.manifestDigest, repository: `http://${host}/v2/${path}` }
}

t.test('a signature of each kind of key is taken, and no network is needed for it afterwards', { skip }, async (t) => {
  for (const [kind, pair] of Object.entries(kinds)) {
    const { name, digest, repository } = await pushed()
    await pushSignatures(repository, digest, [signed(stranger.own, { digest, name }), signed(pair.own, { digest, name })])
    const store = await here(bench).store(`kind-${images}`)
    await pull(store, name)
    here(registry).asked.length = 0
    t.equal(await launched(store, name, by(pair)), undefined, kind)
    t.same(here(registry).asked, [], 'what came with the image is enough')
  }
})

t.test('a change of the policy counts at the next launch, out of what is stored', { skip }, async (t) => {
  const { name, digest, repository } = await pushed()
  await pushSignatures(repository, digest, [signed(key.own, { digest, name })])
  const store = await here(bench).store('changes')
  t.equal(await launched(store, name, []), undefined, 'nobody asks for a signature')
  t.equal(await launched(store, name, by(key), 'never'), undefined)
  t.match(
    await launched(store, name, by(stranger), 'never'),
    /has no signature by a key of the policy \(1 by others, or damaged\)/
  )
  t.match(
    await launched(store, name, [...by(key), ...by(stranger)], 'never'),
    /no signature by a key of the policy/,
    'each rule is kept'
  )
  t.equal(
    await launched(store, name, rules({ images: '*', keys: [stranger.pem, key.pem] }), 'never'),
    undefined,
    'any key of one rule'
  )
  t.equal(await launched(store, name, by(stranger, { images: 'other.example/*' }), 'never'), undefined, 'not asked of this image')
  const again = await here(bench).store('changes')
  t.equal(await launched(again, name, by(key), 'never'), undefined, 'and the next agent knows it')
})

t.test('an image that was signed after it was pulled is asked for again', { skip }, async (t) => {
  const { name, digest, repository } = await pushed()
  const store = await here(bench).store('later')
  await pull(store, name)
  t.match(await launched(store, name, by(key)), /^the image \S+ has no signature; the policy asks for one on \*: sign sha256:/)
  await pushSignatures(repository, digest, [signed(key.own, { digest, name })])
  t.match(await launched(store, name, by(key), 'never'), /has no signature/, 'a task that wants no pull wants no network')
  t.equal(await launched(store, name, by(key)), undefined)
  t.equal(await launched(store, name, by(key), 'never'), undefined, 'kept')
  await pull(store, name)
  t.equal(await launched(store, name, by(key), 'never'), undefined, 'and kept through the next pull')
})

const refusedOnes: readonly (readonly [what: string, of: (digest: string, name: string) => Signed, said: RegExp])[] = [
  ['a stranger’s key', (digest, name) => signed(stranger.own, { digest, name }), /no signature by a key of the policy/],
  [
    'another image',
    (_, name) => signed(key.own, { digest: `sha256:${'0'.repeat(64)}`, name }),
    /has a signature of another image only \(sha256:0{64}\)/
  ],
  [
    'another name',
    (digest) => signed(key.own, { digest, name: 'reg.example/db:1' }),
    /is signed under the name "reg\.example\/db:1" only/
  ],
  ['no name', (digest) => signed(key.own, { digest, name: '' }), /is signed under the name "" only/],
  [
    'another thing',
    (digest, name) => signed(key.own, { digest, name, type: 'atomic container signature' }),
    /for something that is no container image/
  ],
  [
    'a payload that was changed afterwards',
    (digest, name) => ({
      payload: payloadOf({ digest, name }),
      signature: signatureOf(key.own, payloadOf({ digest: `sha256:${'0'.repeat(64)}`, name }))
    }),
    /no signature by a key of the policy/
  ],
  [
    'a signature that is none',
    (digest, name) => ({ payload: payloadOf({ digest, name }), signature: 'bm9uZQ==' }),
    /no signature by a key of the policy/
  ],
  [
    'bytes that claim nothing',
    () => ({ payload: Buffer.from('hello'), signature: signatureOf(key.own, Buffer.from('hello')) }),
    /for something that is no container image/
  ]
]

t.test('a signature counts for nothing but the image, the name and the key that it is for', async (t) => {
  const reference = 'reg.example/web:1'
  const digest = `sha256:${'1'.repeat(64)}`
  const refusal = (one: Signed, more: Init<SignatureRule> = {}) => {
    const signatures = [{ payload: one.payload.toString('base64'), signature: one.signature }]
    return signatureRefusal(by(key, more), { reference, roots: [digest], signatures })
  }
  t.equal(refusal(signed(key.own, { digest, name: 'reg.example/web' })), undefined, 'the name is that of a repository')
  for (const [what, of, said] of refusedOnes) t.match(refusal(of(digest, reference)), said, what)
  t.equal(refusal(signed(key.own, { digest, name: 'reg.example/db:1' }), { anyName: true }), undefined)
})

t.test('what was changed after it was signed is refused as it comes from the registry', { skip }, async (t) => {
  const { name, digest, repository } = await pushed()
  const other = payloadOf({ digest: `sha256:${'0'.repeat(64)}`, name })
  await pushSignatures(repository, digest, [{ payload: payloadOf({ digest, name }), signature: signatureOf(key.own, other) }])
  const store = await here(bench).store('changed')
  t.match(await launched(store, name, by(key)), /has no signature by a key of the policy \(1 by others, or damaged\)/)
})

t.test('a signature of the index covers the image that it leads to', { skip }, async (t) => {
  const { host } = here(registry)
  const image = ociLayout([tarOf([{ name: 'which', content: 'of an index' }])], { pack })
  const manifest = here(image.files.get(`blobs/sha256/${image.manifestDigest.slice(7)}`))
  const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch }
  const type = 'application/vnd.oci.image.index.v1+json'
  const row = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: image.manifestDigest,
    size: manifest.length,
    platform
  }
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: [row] }))
  const top = { schemaVersion: 2, manifests: [{ mediaType: type, digest: `sha256:${sha256(index)}`, size: index.length }] }
  const files = new Map([
    ...image.files,
    [`blobs/sha256/${sha256(index)}`, index],
    ['index.json', Buffer.from(JSON.stringify(top))]
  ])
  const layout = await here(bench).layout('indexed', { ...image, files })
  await run('skopeo', [
    'copy',
    '--all',
    '--insecure-policy',
    '--dest-tls-verify=false',
    `oci:${layout}`,
    `docker://${host}/indexed:1`
  ])
  const name = `${host}/indexed:1`
  const digest = `sha256:${sha256(index)}`
  await pushSignatures(`http://${host}/v2/indexed`, digest, [signed(key.own, { digest, name: `${host}/indexed` })])
  const store = await here(bench).store('indexed-store')
  t.equal(await launched(store, name, by(key)), undefined)
  const exact = await here(bench).store('exact-store')
  t.match(
    await launched(exact, `${host}/indexed@${image.manifestDigest}`, by(key)),
    /has no signature/,
    'which nobody signed by itself'
  )
})

t.test('where the registry cannot be asked for a signature, that is what is told', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { manifest } = plant(registry, tarOf([{ name: 'which', content: 'ill' }]))
  const name = `${registry.host}/app:1`
  const store = await here(bench).store('unreachable', { patience: { ...usualPatience, attempts: 1 } })
  registry.lies.set(
    `/v2/app/manifests/${manifest.digest.replace(':', '-')}.sig`,
    (_, response) => void response.writeHead(503).end()
  )
  await pull(store, name)
  await t.rejects(launched(store, name, by(key)), { code: 'unavailable', message: /answers 503 to manifests\/sha256-/ })
  t.equal(
    await launched(store, name, rules({ images: 'reg.example/*', keys: [key.pem] })),
    undefined,
    'who needs none is not held up'
  )
})

t.test('what openssl signs is understood', { skip }, async (t) => {
  const { name, digest, repository } = await pushed()
  const file = (kind: string): string => join(here(bench).directory, `openssl.${kind}`)
  await run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file('key')])
  await run('openssl', ['pkey', '-in', file('key'), '-pubout', '-out', file('pub')])
  const payload = payloadOf({ digest, name })
  const signature = (await run('openssl', ['dgst', '-sha256', '-sign', file('key')], payload)).toString('base64')
  await pushSignatures(repository, digest, [{ payload, signature }])
  const store = await here(bench).store('openssl-store')
  t.equal(
    await launched(
      store,
      name,
      rules({ images: 'signed/*', keys: [] }, { images: '*', keys: [await readFile(file('pub'), 'utf8')] })
    ),
    undefined
  )
})

t.test('what a registry says of signatures holds up no pull that needs none', { skip }, async (t) => {
  const registry = await lyingRegistry(t)
  const { manifest } = plant(registry, tarOf([{ name: 'which', content: 'of a liar' }]))
  const name = `${registry.host}/app:1`
  const beside = `/v2/app/manifests/${manifest.digest.replace(':', '-')}.sig`
  const impatient = { ...usualPatience, attempts: 1, stallMs: 300 }
  const rowOf = (more: object) => ({
    mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
    digest: `sha256:${'0'.repeat(64)}`,
    size: 10,
    annotations: { 'dev.cosignproject.cosign/signature': 'bm9uZQ==' },
    ...more
  })
  const lies: Readonly<Record<string, unknown>> = {
    'no list': { layers: 7 },
    'a payload without end': { layers: [rowOf({ size: 2 ** 40 })] },
    'a payload that is not there': { layers: [rowOf({})] },
    'a digest that is a path': { layers: [rowOf({ digest: 'sha256:../../../etc/shadow' })] },
    'thousands of them': { layers: Array.from({ length: 5_000 }, () => rowOf({ size: 0 })) }
  }
  for (const [what, lie] of Object.entries(lies)) {
    registry.lies.set(beside, (_, response) => void response.end(JSON.stringify(lie)))
    const store = await here(bench).store(`lie-${what.length}-${what.slice(0, 4).trim()}`, { patience: impatient })
    t.match(await pull(store, name), { digest: manifest.digest }, what)
    t.match(await launched(store, name, by(key), 'never'), /has no signature;/)
  }
  registry.lies.set(beside, () => undefined)
  const store = await here(bench).store('lie-silent', { patience: impatient })
  t.match(await pull(store, name), { digest: manifest.digest }, 'silence')
})
