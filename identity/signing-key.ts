import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { Fault } from '../base/fault.ts'

/** Keys that sign images: the public half as PEM, as `cosign generate-key-pair` and `openssl pkey -pubout` write it. */

const leastRsaBits = 2_048

/**
 * Throws `Fault('invalid')` for what is no public key of a kind that is understood, and for a private key, which node:crypto would
 * take as well: it must not travel.
 */
export function signingKey(text: string): KeyObject {
  if (/PRIVATE KEY/.test(text))
    throw new Fault(
      'invalid',
      'that is a private key: name the file of the public one (cosign.pub), and keep the private one to yourself'
    )
  const key = publicKey(text)
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
  const isKnown =
    key.asymmetricKeyType === 'ed25519' ||
    (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') ||
    (key.asymmetricKeyType === 'rsa' && modulusLength >= leastRsaBits)
  if (isKnown) return key
  const kind = [key.asymmetricKeyType, namedCurve ?? (modulusLength > 0 ? `${modulusLength} bits` : '')].join(' ').trim()
  throw new Fault(
    'invalid',
    `keys of the kind ${kind} are not understood: use ECDSA on P-256, Ed25519, or RSA of ${leastRsaBits} bits or more`
  )
}

/** The form in which a key is kept: nothing but the key. */
export const signingKeyText = (text: string): string => signingKey(text).export({ type: 'spki', format: 'pem' }) as string

/** ECDSA and RSA (PKCS #1, version 1.5) sign the SHA-256 of the bytes, Ed25519 the bytes themselves, as cosign does. */
export const isSignedBy = (key: KeyObject, bytes: Uint8Array, signature: Uint8Array): boolean =>
  verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, key, signature)

function publicKey(text: string): KeyObject {
  try {
    return createPublicKey(text)
  } catch (cause) {
    throw new Fault('invalid', 'that is no public key: it begins with -----BEGIN PUBLIC KEY-----', {}, cause)
  }
}
