import { parseJoinToken } from '../../identity/join-token.ts'
import type { CertifiedRole } from '../../identity/name.ts'
import { type ClusterId, nodeId } from '../../proto/ids.ts'
import type { Caller } from '../api/caller.ts'
import type { ClusterState } from '../state/cluster.ts'
import type { Papers } from './certificate-desk.ts'

interface LeaderParts {
  readonly state: Pick<ClusterState, 'nodeIdentities'>
  /** A POST to the operator API of whoever leads; without `caller` as the administrator, whom masters are to each other. */
  readonly post: (path: string, body: object, caller: Caller | undefined, signal: AbortSignal) => Promise<unknown>
}

interface OwnName {
  readonly clusterId: ClusterId
  readonly nodeId: string
  readonly hostname: string
}

const role: CertifiedRole = 'master'

/** A certificate for this master from the one that leads: only a leader writes down what is given out. */
export async function issueByLeader(
  { state, post }: LeaderParts,
  { clusterId, nodeId: id, hostname }: OwnName,
  request: string,
  signal: AbortSignal
): Promise<Papers> {
  const serial = state.nodeIdentities.get(id)?.serials.at(-1)
  if (serial !== undefined) {
    const caller = { who: `master ${id}`, from: 'a master', tenant: '', node: { clusterId, role, nodeId: nodeId(id), serial } }
    return (await post('/v1/certificates', { request }, caller, signal)) as Papers
  }
  const made = await post('/v1/tokens', { role, ttlMs: 60_000, uses: 1 }, undefined, signal)
  const { tokenId, secret } = parseJoinToken((made as { readonly token: string }).token)
  return (await post('/v1/join', { tokenId, secret, role, nodeId: id, hostname, request }, undefined, signal)) as Papers
}
