import type { Duplex } from 'node:stream'
import {
  connect,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket
} from 'node:tls'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { Credentials } from './credentials.ts'
import { type CertifiedName, nameIn } from './name.ts'

/** What is spoken inside the channel, settled in the TLS handshake (RFC 7301). */
export const protocols = { agentLink: 'hearth-agent', peers: 'hearth-peer', http: 'http/1.1' } as const

/** TLS 1.3 and nothing below, with this node's certificate. */
export const contextOf = ({ key, certificate, authorities }: Pick<Credentials, 'key' | 'certificate' | 'authorities'>) =>
  ({ key, cert: certificate, ca: authorities, minVersion: 'TLSv1.3' }) satisfies SecureContextOptions

const contexts = new WeakMap<Credentials, SecureContext>()

/** One for all connections with the same credentials: to make it is a fifth of what a handshake costs, and it is memory. */
function contextFor(credentials: Credentials): SecureContext {
  const known = contexts.get(credentials)
  if (known !== undefined) return known
  const made = createSecureContext(contextOf(credentials))
  contexts.set(credentials, made)
  return made
}

/** Throws the Fault that says why this is not the one to talk to. */
export type NameCheck = (name: CertifiedName) => void

/** A check of the certified name, in the form in which TLS wants it: the chain is verified by OpenSSL as ever. */
export const identityCheck =
  (check: NameCheck) =>
  (_host: string, { subjectaltname }: PeerCertificate): Fault | undefined => {
    try {
      check(nameIn({ subjectAltName: subjectaltname }))
      return undefined
    } catch (e) {
      if (isFault(e)) return e
      throw e
    }
  }

/**
 * Speaks TLS over a connection that may still be in the making. The other side is known by what its certificate says, not by a name of
 * the network, and `check` gets that before a byte is sent. 'secureConnect' tells success, 'error' everything else (`channelFault`).
 */
export function secureClient(under: Duplex, credentials: Credentials, protocol: string, check: NameCheck): TLSSocket {
  return connect({
    secureContext: contextFor(credentials),
    socket: under,
    ALPNProtocols: [protocol],
    checkServerIdentity: identityCheck(check)
  })
}

/** A master of this cluster; of any, where none is known yet. */
export const masterOf =
  (clusterId: string | undefined): NameCheck =>
  (name) => {
    if (clusterId !== undefined && name.clusterId !== clusterId) {
      throw new Fault('conflict', `a master of cluster ${name.clusterId} answers, not one of ${clusterId}`)
    }
    if (name.role !== 'master') throw new Fault('denied', `the certificate is of an ${name.role} where a master should answer`)
  }

/** What went wrong with a connection, in words that help. `where` is HOST:PORT. */
export function channelFault(e: unknown, where: string): Fault {
  if (isFault(e)) return e
  const code = errnoOf(e) ?? ''
  const said = reasons[code] ?? (/^ERR_SSL_/.test(code) ? `the TLS handshake failed (${code})` : undefined)
  if (said !== undefined) return new Fault('denied', `${where}: ${said}`, { where }, e)
  const seen = e instanceof Error ? e.message : String(e)
  return new Fault('unavailable', `no master at ${where}: ${seen}`, { where }, e)
}

const clocks = 'see whether the clocks of both hosts are right, or join again with a token'
const foreign = 'its certificate is of another cluster'
const reasons: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: `its certificate has expired: ${clocks}`,
  CERT_NOT_YET_VALID: `its certificate is not valid yet: ${clocks}`,
  SELF_SIGNED_CERT_IN_CHAIN: foreign,
  DEPTH_ZERO_SELF_SIGNED_CERT: foreign,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: foreign,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: foreign,
  CERT_SIGNATURE_FAILURE: foreign,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: `our certificate has expired: ${clocks}`,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'our certificate is of another cluster',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: 'it does not speak what this version does: upgrade the older of the two'
}
