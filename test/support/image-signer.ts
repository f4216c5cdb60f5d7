import { createHash, type KeyObject, sign } from 'node:crypto'

/** Signs images as cosign does, and puts what it signed beside them in a registry. */

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const manifestType = 'application/vnd.oci.image.manifest.v1+json'

export interface Statement {
  readonly digest: string
  /** What the signer calls the image. */
  readonly name: string
  readonly type?: string
}

export const payloadOf = ({ digest, name, type = 'cosign container image signature' }: Statement): Buffer =>
  Buffer.from(
    JSON.stringify({
      critical: { identity: { 'docker-reference': name }, image: { 'docker-manifest-digest': digest }, type },
      optional: null
    })
  )

export const signatureOf = (key: KeyObject, payload: Uint8Array): string =>
  sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', payload, key).toString('base64')

/** What is signed, and by what; `payload` in the place of the one that was signed is a forgery. */
export interface Signed {
  readonly payload: Buffer
  readonly signature: string
}

export const signed = (key: KeyObject, statement: Statement): Signed => {
  const payload = payloadOf(statement)
  return { payload, signature: signatureOf(key, payload) }
}

/** Puts these signatures, and no others, beside the image with this digest. `repository`: `http://host/v2/name`. */
export async function pushSignatures(repository: string, digest: string, signatures: readonly Signed[]): Promise<void> {
  const config = Buffer.from(JSON.stringify({ architecture: '', os: '', config: {}, rootfs: { type: 'layers', diff_ids: [] } }))
  const layers = signatures.map(({ payload, signature }) => ({
    mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
    size: payload.length,
    digest: sha256(payload),
    annotations: { 'dev.cosignproject.cosign/signature': signature }
  }))
  for (const blob of [config, ...signatures.map(({ payload }) => payload)]) await pushBlob(repository, blob)
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', size: config.length, digest: sha256(config) },
    layers
  }
  const url = `${repository}/manifests/${digest.replace(':', '-')}.sig`
  await answered(fetch(url, { method: 'PUT', headers: { 'content-type': manifestType }, body: JSON.stringify(manifest) }))
}

async function pushBlob(repository: string, blob: Buffer): Promise<void> {
  const begun = await answered(fetch(`${repository}/blobs/uploads/`, { method: 'POST' }))
  const to = new URL(begun.headers.get('location') ?? '', repository)
  to.searchParams.set('digest', sha256(blob))
  const headers = { 'content-type': 'application/octet-stream' }
  await answered(fetch(to, { method: 'PUT', headers, body: new Uint8Array(blob) }))
}

async function answered(call: Promise<Response>): Promise<Response> {
  const answer = await call
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`)
  return answer
}
