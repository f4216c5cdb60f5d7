import type { X509Certificate } from 'node:crypto'
import { Fault } from '../base/fault.ts'
import { type ClusterId, clusterId, type NodeId, nodeId } from '../proto/ids.ts'

export type CertifiedRole = 'agent' | 'master'

/** Whom a certificate speaks for. */
export interface CertifiedName {
  readonly clusterId: ClusterId
  readonly role: CertifiedRole
  readonly nodeId: NodeId
}

const pattern = /(?:^|, )URI:hearth:\/\/([0-9a-f]{32})\/(agent|master)\/([0-9a-f]{32})(?=, |$)/g

/** The form in which a certificate carries a name: a URI among its alternative names (RFC 5280, 4.2.1.6). */
export const uriOf = ({ clusterId, role, nodeId }: CertifiedName): string => `hearth://${clusterId}/${role}/${nodeId}`

/** Throws `Fault('denied')` for a certificate that names nobody, or several. */
export function nameIn(certificate: Pick<X509Certificate, 'subjectAltName'>): CertifiedName {
  const [found, another] = [...(certificate.subjectAltName ?? '').matchAll(pattern)]
  if (found === undefined || another !== undefined) {
    throw new Fault('denied', 'the certificate is no certificate of a Hearth node')
  }
  const [, cluster = '', role = '', node = ''] = found
  return { clusterId: clusterId(cluster), role: role as CertifiedRole, nodeId: nodeId(node) }
}
