import { join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { clusterId } from '../proto/ids.ts'
import { agentAddress, type MasterConfig, peerAddress } from './config.ts'
import { type OpenReplica, openReplica } from './consensus/open-replica.ts'
import { ensureCredentials } from './enrol.ts'
import { parseClusterKey, writeClusterKey } from './identity/cluster-key.ts'
import { CredentialsBoard } from './identity/credentials-board.ts'
import { isGoodMaster } from './identity/guard.ts'
import {
  ensureIdentity,
  ensureToken,
  ensureWaitingId,
  type Identity,
  readIdentity,
  readToken,
  writeIdentity,
  writeToken
} from './identity.ts'
import { openWithPeers, type ReplicaAmongPeers } from './peers/open-peers.ts'
import { type PeerChannel, plainChannel, secureChannel } from './peers/peer-channel.ts'
import { awaitInvitation } from './peers/waiting-room.ts'
import type { ClusterState } from './state/cluster.ts'

/** Written with zeros ahead of use, up to three of them at a first start. */
export const segmentBytes = 16 * 1024 * 1024

export type OwnReplica = OpenReplica &
  Partial<Pick<ReplicaAmongPeers, 'caller' | 'lackLevel'>> & {
    /** Cuts whoever is void by now; `removed`: a node that never comes back, also with a certificate that was made a moment ago. */
    readonly recheckPeers?: (removed?: string) => void
  }

interface OwnParts {
  readonly log: Log
  /** Needed where the peers speak TLS. */
  readonly board?: CredentialsBoard | undefined
  readonly clock?: Clock
}

/** Files in the state directory, 0600. */
export const tokenPaths = (stateDir: string) => ({
  operator: join(stateDir, 'token'),
  agent: join(stateDir, 'agent-token'),
  peers: join(stateDir, 'master-token')
})

/** Who this master is; a master that is to wait waits here until a cluster takes it in. Rejects when the signal aborts. */
async function findIdentity(config: MasterConfig, log: Log, signal: AbortSignal): Promise<Identity> {
  const { stateDir, wait, peerListen } = config
  if (!wait || peerListen === undefined) return await ensureIdentity(stateDir)
  const known = await readIdentity(stateDir)
  if (known !== undefined) return known
  const paths = tokenPaths(stateDir)
  const token = await readToken(paths.peers)
  if (token === undefined) {
    throw new Fault('invalid', `${paths.peers} is missing: copy it from a master of the cluster that this one is to join`)
  }
  const nodeId = await ensureWaitingId(stateDir)
  const channel = peerListen.isSecure ? await waitingChannel(config, nodeId, log, signal) : plainChannel
  log.info({ nodeId, address: peerAddress(peerListen) }, 'master.waits_to_be_added')
  await awaitInvitation(
    {
      log,
      channel,
      accept: async (invitation) => {
        await writeToken(paths.agent, invitation.agentToken)
        await writeToken(paths.operator, invitation.operatorToken)
        if (invitation.clusterKey !== '') await writeClusterKey(stateDir, parseClusterKey(invitation.clusterKey))
        await writeIdentity(stateDir, {
          clusterId: clusterId(invitation.clusterId),
          nodeId,
          raftId: invitation.raftId,
          formerClusterIds: invitation.formerClusterIds
        })
      }
    },
    { listen: { host: peerListen.host, port: peerListen.port }, token, nodeId, agentAddress: agentAddress(config) },
    signal
  )
  return await ensureIdentity(stateDir)
}

/** It knows no log: whoever has a certificate of a master of the cluster, and the secret, may invite it. */
async function waitingChannel(config: MasterConfig, nodeId: string, log: Log, signal: AbortSignal): Promise<PeerChannel> {
  const own = await ensureCredentials(config, { nodeId }, { log, nowMs: systemClock.wallMs() }, signal)
  if (own !== undefined) return secureChannel({ credentials: () => own, isGood: () => true, log })
  const next = 'start it with --join HOST:PORT of a master and --join-token-file, see hearth cluster token create --role master'
  throw new Fault('invalid', `a master that waits at tls: needs a certificate of its cluster: ${next}`)
}

/** What this master shows to the others; undefined where all of them are on this host and speak in clear. */
async function findCredentials(
  config: MasterConfig,
  { nodeId, clusterId: own }: Identity,
  log: Log,
  signal: AbortSignal
): Promise<CredentialsBoard | undefined> {
  if (config.peerListen?.isSecure !== true) return undefined
  const nowMs = systemClock.wallMs()
  return new CredentialsBoard(await ensureCredentials(config, { nodeId, clusterId: own }, { log, nowMs }, signal))
}

/** Who this master is, and what it shows to the others. Undefined where the signal aborts first. */
export async function findSelf(config: MasterConfig, log: Log, signal: AbortSignal) {
  try {
    const identity = await findIdentity(config, log, signal)
    return { identity, board: await findCredentials(config, identity, log, signal) }
  } catch (e) {
    if (signal.aborted) return undefined
    throw e
  }
}

/** This master's replica, with the way to the others where it has an address of its own. */
export async function openOwnReplica(
  config: Pick<MasterConfig, 'stateDir' | 'runDir' | 'peerListen'>,
  identity: Identity,
  { log, board, clock = systemClock }: OwnParts
): Promise<OwnReplica> {
  const { stateDir, runDir, peerListen } = config
  const consensus = { directory: join(stateDir, 'master'), segmentBytes, ...identity }
  if (peerListen === undefined) return await openReplica({ log, clock }, consensus)
  const peerToken = await ensureToken(tokenPaths(stateDir).peers)
  const tunnels = { api: join(runDir, 'master.sock'), agents: join(runDir, 'agents.sock') }
  const peers = { ...consensus, peerListen, peerToken, tunnels }
  if (!peerListen.isSecure) return await openWithPeers({ log, clock }, peers)
  if (board === undefined) throw new Error('peers over TLS need credentials')
  const removed = new Set<string>()
  const channel = (state: () => ClusterState | undefined): PeerChannel =>
    secureChannel({
      credentials: () => board.current,
      isGood: (nodeId, ...certificate) => !removed.has(nodeId) && isGoodMaster(state(), nodeId, ...certificate),
      log
    })
  const secure = { channel, ready: board.isEmpty ? board.ready : undefined }
  const opened = await openWithPeers({ log, clock }, { ...peers, secure })
  const recheckPeers = (nodeId?: string): void => {
    if (nodeId !== undefined) removed.add(nodeId)
    opened.recheckPeers()
  }
  return { ...opened, recheckPeers }
}
