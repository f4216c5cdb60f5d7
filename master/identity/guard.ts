import type { TLSSocket } from 'node:tls'
import { Fault } from '../../base/fault.ts'
import { serialOf } from '../../identity/credentials.ts'
import { earlyMs } from '../../identity/lifetime.ts'
import { type CertifiedName, nameIn } from '../../identity/name.ts'
import type { ClusterState } from '../state/cluster.ts'

/** A node that has shown a certificate which is good. */
export interface CertifiedNode extends CertifiedName {
  readonly serial: string
}

/** Who stands at a door that everybody can reach. */
export interface Visitor {
  /** HOST, as the kernel tells it. */
  readonly from: string
  /** Absent where no certificate was shown. */
  readonly node?: CertifiedNode
  /** Why what was shown is not believed: to be said, once something is asked for. */
  readonly refusal?: Fault
}

type Identities = Pick<ClusterState, 'nodeIdentities'>

/** Whom a connection belongs to, as soon as its handshake is done. The chain is OpenSSL's to judge, the rest is the log's. */
export function visitorOf(socket: TLSSocket, state: Identities, clusterId: string): Visitor {
  const from = socket.remoteAddress ?? ''
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return { from }
  try {
    if (!socket.authorized) throw new Fault('denied', wordsOf(String(socket.authorizationError)))
    const node = { ...nameIn(certificate), serial: serialOf(certificate) }
    if (node.clusterId !== clusterId) {
      throw new Fault('conflict', `the certificate is of cluster ${node.clusterId}, this is ${clusterId}`)
    }
    checkNode(node, state)
    return { from, node }
  } catch (e) {
    if (e instanceof Fault) return { from, refusal: e }
    throw e
  }
}

/** Throws `Fault('denied')` where the log no longer knows this certificate. */
export function checkNode({ nodeId, role, serial }: CertifiedNode, { nodeIdentities }: Identities): void {
  const row = nodeIdentities.get(nodeId)
  if (row === undefined) throw new Fault('denied', `node ${nodeId} was removed from the cluster: its certificate is void`)
  if (row.role !== role || !row.serials.includes(serial)) {
    throw new Fault('denied', `node ${nodeId} has got a newer certificate: this one is void`)
  }
}

/** Until it stands in the log that it was given out. */
const underWayMs = 60_000

/**
 * Whether another master's certificate counts, which has the chain and the role already. This log may lack the newest entries, and gets
 * them from that very master: so a certificate is believed that is younger than what the log tells. The secret of the masters is asked
 * for besides.
 */
export function isGoodMaster(
  state: Pick<ClusterState, 'nodeIdentities' | 'atMs'> | undefined,
  nodeId: string,
  serial: string,
  fromMs: number
): boolean {
  if (state === undefined) return true
  const row = state.nodeIdentities.get(nodeId)
  if (row?.role === 'master' && row.serials.includes(serial)) return true
  return fromMs + earlyMs + underWayMs > state.atMs
}

function wordsOf(error: string): string {
  if (error === 'CERT_HAS_EXPIRED') return 'the certificate has expired: join again with a token, see hearth agent join --help'
  if (error === 'CERT_NOT_YET_VALID') return 'the certificate is not valid yet: see whether the clocks of both hosts are right'
  return `the certificate is of another cluster (${error})`
}
