import 'reflect-metadata'
import { X509Certificate as NodeCertificate, randomBytes } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator
} from '@peculiar/x509'
import { Fault } from '../../base/fault.ts'
import { algorithm } from '../../identity/certificate-request.ts'
import { serialOf } from '../../identity/credentials.ts'
import { digestOf } from '../../identity/join-token.ts'
import { authorityLifetimeMs, earlyMs, nodeLifetimeMs } from '../../identity/lifetime.ts'
import { type CertifiedName, uriOf } from '../../identity/name.ts'
import { pem } from '../../identity/pem.ts'

/** With its key in clear: never leaves the memory of a master. */
export interface Authority {
  /** DER. */
  readonly certificate: Uint8Array
  /** PEM, PKCS #8. */
  readonly key: string
}

export interface IssuedCertificate {
  readonly pem: string
  readonly serial: string
  readonly untilMs: number
}

interface Order {
  readonly name: CertifiedName
  /** PEM, PKCS #10. */
  readonly request: string
  readonly nowMs: number
  /** Under which a master is reached; browsers and curl want to see them. */
  readonly hosts?: readonly { readonly type: 'dns' | 'ip'; readonly value: string }[]
}

/** A new certificate authority of a cluster; it signs no other authorities. */
export async function newAuthority(
  clusterId: string,
  nowMs: number
): Promise<Authority & { readonly digest: string; readonly untilMs: number }> {
  const { subtle } = cryptoProvider.get()
  const keys = await subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const untilMs = nowMs + authorityLifetimeMs
  const made = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `O=Hearth, CN=cluster ${clusterId}`,
    notBefore: new Date(nowMs - earlyMs),
    notAfter: new Date(untilMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey)
    ]
  })
  const certificate = new Uint8Array(made.rawData)
  const key = pem('PRIVATE KEY', await subtle.exportKey('pkcs8', keys.privateKey))
  return { certificate, key, digest: digestOf(certificate), untilMs }
}

/**
 * A certificate for whoever has the key of the request. Of the request only the key is taken: what a node is called is not its own to
 * say. Throws `Fault('invalid')` for a request that is none.
 */
export async function issue(authority: Authority, { name, request, nowMs, hosts = [] }: Order): Promise<IssuedCertificate> {
  const publicKey = await checkedKey(request)
  const issuer = new X509Certificate(authority.certificate)
  const { subtle } = cryptoProvider.get()
  const der = Buffer.from(authority.key.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const signingKey = await subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
  const usages = [ExtendedKeyUsage.clientAuth, ...(name.role === 'master' ? [ExtendedKeyUsage.serverAuth] : [])]
  const made = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: `O=Hearth, OU=${name.role}, CN=${name.nodeId}`,
    issuer: issuer.subjectName,
    notBefore: new Date(nowMs - earlyMs),
    notAfter: new Date(Math.min(nowMs + nodeLifetimeMs, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey,
    signingKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension(usages),
      new SubjectAlternativeNameExtension([{ type: 'url', value: uriOf(name) }, ...hosts]),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await SubjectKeyIdentifierExtension.create(publicKey)
    ] satisfies Extension[]
  })
  const text = made.toString('pem')
  return { pem: `${text}\n`, serial: serialOf(new NodeCertificate(text)), untilMs: made.notAfter.getTime() }
}

async function checkedKey(request: string) {
  try {
    const parsed = new Pkcs10CertificateRequest(request)
    if (!(await parsed.verify())) throw new Error('its signature is wrong')
    const { name, namedCurve } = parsed.publicKey.algorithm as { readonly name: string; readonly namedCurve?: string }
    if (name !== algorithm.name || namedCurve !== algorithm.namedCurve) throw new Error('its key is not of the curve P-256')
    return parsed.publicKey
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Fault('invalid', `this is no request for a certificate: ${why}`, {}, cause)
  }
}

/** Positive, and of a length that never differs (RFC 5280, 4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0)
  return bytes.toString('hex')
}
