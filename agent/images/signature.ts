import { isSignedBy, signingKey } from '../../identity/signing-key.ts'
import type { SignatureRule } from '../../proto/gen/messages.ts'
import { canonicalReference, remoteNameOf } from '../../proto/image-name.ts'

/** A signature as cosign writes it: over a payload that says which image is meant (cosign's SIGNATURE_SPEC, "Payloads"). */
export interface ImageSignature {
  /** The signed bytes, in base64. */
  readonly payload: string
  /** In base64. */
  readonly signature: string
}

/** What of an image a signature is held against. */
export interface SignedImage {
  readonly reference: string
  /** Digests by which it may have been signed: of its manifest, and of the indexes through which its name led there. */
  readonly roots: readonly string[]
  readonly signatures: readonly ImageSignature[]
}

const payloadType = 'cosign container image signature'

/**
 * Why an image may not be used under these rules; undefined where each of them has its signature. Looks at every signature anew: a
 * key that was taken out of a policy counts no more, and no network is needed. Pure.
 */
export function signatureRefusal(rules: readonly SignatureRule[], image: SignedImage): string | undefined {
  for (const rule of rules) {
    const why = missing(rule, image)
    if (why === undefined) continue
    return `the image ${image.reference} ${why}; the policy asks for one on ${rule.images}: sign ${image.roots[0] ?? 'it'}, as with cosign sign --key, and try again`
  }
  return undefined
}

/** What was found goes nearest to a signature that counts: somebody who looks for the mistake wants to know that one. */
function missing(rule: SignatureRule, image: SignedImage): string | undefined {
  if (image.signatures.length === 0) return 'has no signature'
  const keys = rule.keys.map(signingKey)
  let why = `has no signature by a key of the policy (${image.signatures.length} by others, or damaged)`
  for (const { payload, signature } of image.signatures) {
    const bytes = Buffer.from(payload, 'base64')
    if (!keys.some((key) => isSignedBy(key, bytes, Buffer.from(signature, 'base64')))) continue
    const found = mismatch(claimsIn(bytes), rule, image)
    if (found === undefined) return undefined
    why = found
  }
  return why
}

interface Claims {
  readonly type: unknown
  readonly digest: unknown
  readonly reference: unknown
}

/** The signer's words hold; are they about this image? */
function mismatch({ type, digest, reference }: Claims, rule: SignatureRule, image: SignedImage): string | undefined {
  if (type !== payloadType) return 'has a signature of its key, but for something that is no container image'
  if (typeof digest !== 'string' || !image.roots.includes(digest))
    return `has a signature of another image only (${String(digest).slice(0, 80)})`
  if (rule.anyName || placeOf(reference) === placeOf(image.reference)) return undefined
  return `is signed under the name ${JSON.stringify(String(reference).slice(0, 120))} only`
}

/** Registry and repository: who signed a tag has signed the image that it meant, not the tag. */
function placeOf(reference: unknown): string | undefined {
  const canonical = typeof reference === 'string' ? canonicalReference(reference) : undefined
  if (canonical === undefined) return undefined
  const { registry, repository } = remoteNameOf(canonical)
  return `${registry}/${repository}`
}

function claimsIn(bytes: Buffer): Claims {
  const { critical } = object(parsed(bytes))
  const { type, image, identity } = object(critical)
  return { type, digest: object(image)['docker-manifest-digest'], reference: object(identity)['docker-reference'] }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined // signed, but no claim: the caller says so
  }
}

const object = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
