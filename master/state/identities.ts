import type {
  AdmitNode,
  Answer,
  AuthorityRow,
  CreateJoinToken,
  NodeIdentityRow,
  RenewCertificate,
  SetAuthority
} from '../../proto/gen/messages.ts'
import { removeAgent } from './agents.ts'
import { accepted, isId, refused } from './answer.ts'
import type { ClusterLimits, ClusterState } from './cluster.ts'

const roles: ReadonlySet<string> = new Set(['agent', 'master'])
/** While one authority follows another, both are trusted; a third has to wait. */
const mostAuthorities = 2

/** A JWE of a small key and a certificate are a few hundred bytes each; this is far above. */
const maxAuthorityBytes = 16 * 1024

export function setAuthority(state: ClusterState, { authority, after }: SetAuthority, index: number): Answer {
  const wrong = wrongAuthority(authority)
  if (authority === null || wrong !== undefined) return refused('invalid', wrong ?? 'an authority is missing')
  const signing = signingAuthority(state)?.digest ?? ''
  if (signing !== after) {
    return refused('conflict', `another authority signs by now (${signing.slice(0, 16)}): look at hearth cluster show`)
  }
  if (state.authorities.has(authority.digest)) return refused('conflict', 'this authority is there already')
  if (state.authorities.size >= mostAuthorities) {
    return refused('conflict', 'one authority follows another already: finish that first, see hearth cluster show')
  }
  // A copy: the certificate may be a window onto a whole segment of the log.
  state.authorities.set(authority.digest, { ...authority, certificate: new Uint8Array(authority.certificate) })
  return accepted(index)
}

function wrongAuthority(authority: AuthorityRow | null): string | undefined {
  if (authority === null || !isId(authority.digest)) return 'an authority is known by the digest of its certificate'
  if (authority.certificate.length === 0 || authority.sealedKey === '') return 'an authority has a certificate and a sealed key'
  const bytes = authority.certificate.length + authority.sealedKey.length
  return bytes > maxAuthorityBytes ? `an authority of ${bytes} bytes is over the limit of ${maxAuthorityBytes}` : undefined
}

/** The newest one. */
export const signingAuthority = (state: Pick<ClusterState, 'authorities'>): AuthorityRow | undefined =>
  [...state.authorities.values()].at(-1)

export function retireAuthority(state: ClusterState, digest: string, index: number): Answer {
  if (!state.authorities.has(digest)) return refused('not-found', 'there is no such authority')
  if (signingAuthority(state)?.digest === digest) return refused('conflict', 'this authority signs: it has no successor yet')
  const left = [...state.nodeIdentities.values()].filter((row) => row.authority === digest)
  if (left.length > 0) {
    const names = left.slice(0, 3).map((row) => row.hostname || row.nodeId)
    const next = 'wait until they have renewed theirs, or remove those that never will: hearth cluster show'
    return refused('conflict', `${left.length} nodes have certificates of it still (${names.join(', ')}): ${next}`)
  }
  state.authorities.delete(digest)
  return accepted(index)
}

export function createJoinToken(state: ClusterState, command: CreateJoinToken, index: number, limits: ClusterLimits): Answer {
  const { tokenId, secretDigest, role, uses, ttlMs } = command
  if (!isId(tokenId) || !isId(secretDigest)) return refused('invalid', 'a token has an id and the digest of its secret')
  if (!roles.has(role)) return refused('invalid', 'a token is for the role agent or master')
  if (uses < 1 || ttlMs < 1) return refused('invalid', 'a token has at least one use and some time to live')
  for (const [id, row] of state.joinTokens) if (row.expiresAtMs <= state.atMs) state.joinTokens.delete(id)
  if (state.joinTokens.has(tokenId)) return refused('conflict', `the token ${tokenId} is there already`)
  if (state.joinTokens.size >= limits.joinTokens) {
    return refused('exhausted', `the cluster holds ${limits.joinTokens} tokens already: revoke some`)
  }
  const { atMs: createdAtMs } = state
  state.joinTokens.set(tokenId, { tokenId, secretDigest, role, usesLeft: uses, expiresAtMs: createdAtMs + ttlMs, createdAtMs })
  return accepted(index)
}

export function revokeJoinToken(state: ClusterState, tokenId: string, index: number): Answer {
  if (!state.joinTokens.delete(tokenId)) return refused('not-found', `there is no token ${tokenId}`)
  return accepted(index)
}

/** The same words for every token that does not fit: whoever guesses learns nothing. */
export const unknownToken = refused(
  'denied',
  'the token is unknown, revoked, expired or used up: make another with hearth cluster token create'
)

export function admitNode(state: ClusterState, command: AdmitNode, index: number, limits: ClusterLimits): Answer {
  const { tokenId, secretDigest, node } = command
  const token = state.joinTokens.get(tokenId)
  if (token === undefined || token.secretDigest !== secretDigest || token.expiresAtMs <= state.atMs) return unknownToken
  if (node === null || !isId(node.nodeId) || node.serials.length !== 1)
    return refused('invalid', 'a node has an id and a certificate')
  if (token.role !== node.role) return refused('denied', `the token is for the role ${token.role}, not ${node.role}`)
  const taken = takenBy(state, node)
  if (taken !== undefined) return refused('conflict', taken)
  if (!state.nodeIdentities.has(node.nodeId) && state.nodeIdentities.size >= limits.agents) {
    return refused('exhausted', `the cluster holds ${limits.agents} nodes already`)
  }
  if (token.usesLeft > 1) state.joinTokens.set(tokenId, { ...token, usesLeft: token.usesLeft - 1 })
  else state.joinTokens.delete(tokenId)
  state.nodeIdentities.set(node.nodeId, { ...node, admittedAtMs: state.atMs })
  return accepted(index)
}

/** A token lets somebody in; it gives nobody the place of a node that lives. */
function takenBy(state: ClusterState, { nodeId, role }: NodeIdentityRow): string | undefined {
  if (state.agents.get(nodeId)?.condition === 'agent_gone') {
    return `node ${nodeId} was removed for good: join with an empty state directory, under a new id`
  }
  const row = state.nodeIdentities.get(nodeId)
  if (row === undefined) return undefined
  if (row.role !== role) return `node ${nodeId} is a ${row.role}`
  const next = 'remove it first (hearth node remove), or join with an empty state directory, under a new id'
  return row.notAfterMs > state.atMs ? `node ${nodeId} (${row.hostname}) has a certificate that is good: ${next}` : undefined
}

export function renewCertificate(state: ClusterState, command: RenewCertificate, index: number): Answer {
  const { nodeId, presented, serial, notAfterMs, authority } = command
  const row = state.nodeIdentities.get(nodeId)
  if (row === undefined || !row.serials.includes(presented)) {
    return refused('denied', `the certificate of node ${nodeId} is not good any more: join again with a token`)
  }
  if (!isId(serial)) return refused('invalid', 'a certificate has a serial number')
  state.nodeIdentities.set(nodeId, { ...row, serials: [presented, serial], notAfterMs, authority })
  return accepted(index)
}

export function removeNode(state: ClusterState, nodeId: string, index: number): Answer {
  const known = state.nodeIdentities.delete(nodeId)
  if (state.agents.has(nodeId)) return removeAgent(state, nodeId, index)
  return known ? accepted(index) : refused('not-found', `there is no node ${nodeId}`)
}
