import 'reflect-metadata'
import { cryptoProvider, Pkcs10CertificateRequestGenerator } from '@peculiar/x509'
import { pem } from './pem.ts'

/** ECDSA over P-256 with SHA-256: what every TLS 1.3 speaks (RFC 8446, 9.1). */
export const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export interface CertificateRequest {
  /** PEM, PKCS #8. */
  readonly key: string
  /** PEM, PKCS #10: proves that whoever asks has the key. */
  readonly request: string
}

/** A new key that never leaves this host, and the request for a certificate. The name is the cluster's to give. */
export async function newCertificateRequest(): Promise<CertificateRequest> {
  const { subtle } = cryptoProvider.get()
  const keys = await subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const request = await Pkcs10CertificateRequestGenerator.create({ name: 'O=Hearth', keys, signingAlgorithm: algorithm })
  return { key: pem('PRIVATE KEY', await subtle.exportKey('pkcs8', keys.privateKey)), request: request.toString('pem') }
}
