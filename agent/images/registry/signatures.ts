import { isFault } from '../../../base/fault.ts'
import { remoteNameOf } from '../../../proto/image-name.ts'
import type { ImageLimits } from '../limits.ts'
import type { ImageSignature } from '../signature.ts'
import type { PullSecrets, SignaturesRequest } from '../unpack-message.ts'
import { blobBytes } from './blob.ts'
import { RegistryHttp, shortBody } from './http.ts'
import { patiently, type Session } from './session.ts'
import type { Patience } from './settings.ts'
import { sourcesOf } from './sources.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const payloadType = 'application/vnd.dev.cosign.simplesigning.v1+json'
const annotation = 'dev.cosignproject.cosign/signature'
const mostSignatures = 32
const maxPayloadBytes = 16 * 1024
const maxSignatureLength = 4 * 1024

/** Of an image that is here already: from the first place that has some. Rejects with what the registry itself says where it cannot be asked. */
export async function askForSignatures(request: SignaturesRequest, secrets: PullSecrets): Promise<readonly ImageSignature[]> {
  const { name, roots, limits, registries } = request
  const http = new RegistryHttp(registries, secrets.proxy)
  const { signal } = new AbortController()
  try {
    const sources = sourcesOf(remoteNameOf(name), registries, { http, secrets })
    for (const [at, source] of sources.entries()) {
      try {
        const found = await fetchSignatures(await source(signal), roots, { limits, patience: registries.patience }, signal)
        if (found.length > 0) return found
      } catch (e) {
        if (!isFault(e) || at === sources.length - 1) throw e
      }
    }
    return []
  } finally {
    http.close()
  }
}

/**
 * The signatures that lie beside an image, at the tag that its digest makes (cosign's SIGNATURE_SPEC, "Tag-based Discovery"). What is
 * malformed among them is no signature. Throws what `Session.get` throws where the registry cannot be asked.
 */
export async function fetchSignatures(
  session: Session,
  roots: readonly string[],
  { limits, patience }: { readonly limits: ImageLimits; readonly patience: Patience },
  signal: AbortSignal
): Promise<readonly ImageSignature[]> {
  const found: ImageSignature[] = []
  for (const root of roots) {
    for (const row of await rowsBeside(session, root, { limits, patience }, signal)) {
      if (found.length === mostSignatures) return found
      const parts: Buffer[] = []
      const blob = { mediaType: payloadType, digest: row.digest, size: row.size }
      for await (const chunk of blobBytes(session, blob, patience, signal)) parts.push(chunk)
      found.push({ payload: Buffer.concat(parts).toString('base64'), signature: row.signature })
    }
  }
  return found
}

interface Row {
  readonly digest: string
  readonly size: number
  readonly signature: string
}

async function rowsBeside(
  session: Session,
  root: string,
  { limits, patience }: { readonly limits: ImageLimits; readonly patience: Patience },
  signal: AbortSignal
): Promise<readonly Row[]> {
  const path = `manifests/${root.replace(':', '-')}.sig`
  try {
    return await patiently(patience, signal, async () => {
      const answer = await session.get(path, { accept: manifestType }, signal)
      return rowsIn(await shortBody(answer, limits.documentBytes, patience))
    })
  } catch (e) {
    if (isFault(e) && e.code === 'not-found') return []
    throw e
  }
}

function rowsIn(bytes: Buffer): readonly Row[] {
  const { layers } = object(parsed(bytes))
  if (!Array.isArray(layers)) return []
  return layers.slice(0, mostSignatures).flatMap((layer: unknown): readonly Row[] => {
    const { mediaType, digest, size, annotations } = object(layer)
    const signature = object(annotations)[annotation]
    if (mediaType !== payloadType || typeof signature !== 'string' || signature.length > maxSignatureLength) return []
    if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) return []
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 1 || size > maxPayloadBytes) return []
    return [{ digest, size, signature }]
  })
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined // what lies there holds no signatures
  }
}

const object = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
