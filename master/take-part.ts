import { join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { clusterId } from '../proto/ids.ts'
import { linkAddress, type MasterConfig } from './config.ts'
import { type OpenReplica, openReplica } from './consensus/open-replica.ts'
import { parseClusterKey, writeClusterKey } from './identity/cluster-key.ts'
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
import { openWithPeers } from './peers/open-peers.ts'
import type { PeerCaller } from './peers/peer-caller.ts'
import { awaitInvitation } from './peers/waiting-room.ts'

/** Written with zeros ahead of use, up to three of them at a first start. */
export const segmentBytes = 16 * 1024 * 1024

export type OwnReplica = OpenReplica & { readonly caller?: PeerCaller }

/** Files in the state directory, 0600. */
export const tokenPaths = (stateDir: string) => ({
  operator: join(stateDir, 'token'),
  agent: join(stateDir, 'agent-token'),
  peers: join(stateDir, 'master-token')
})

/** Who this master is; a master that is to wait waits here until a cluster takes it in. Rejects when the signal aborts. */
export async function findIdentity(
  config: Pick<MasterConfig, 'stateDir' | 'wait' | 'peerListen' | 'agentListen'>,
  log: Log,
  signal: AbortSignal
): Promise<Identity> {
  const { stateDir, wait, peerListen, agentListen } = config
  if (!wait || peerListen === undefined) return await ensureIdentity(stateDir)
  const known = await readIdentity(stateDir)
  if (known !== undefined) return known
  const paths = tokenPaths(stateDir)
  const token = await readToken(paths.peers)
  if (token === undefined) {
    throw new Fault('invalid', `${paths.peers} is missing: copy it from a master of the cluster that this one is to join`)
  }
  const nodeId = await ensureWaitingId(stateDir)
  const agentAddress = agentListen === undefined ? '' : linkAddress(agentListen)
  log.info({ nodeId, address: linkAddress(peerListen) }, 'master.waits_to_be_added')
  await awaitInvitation(
    {
      log,
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
    { listen: peerListen, token, nodeId, agentAddress },
    signal
  )
  return await ensureIdentity(stateDir)
}

/** This master's replica, with the way to the others where it has an address of its own. */
export async function openOwnReplica(
  config: Pick<MasterConfig, 'stateDir' | 'runDir' | 'peerListen'>,
  identity: Identity,
  log: Log,
  clock: Clock = systemClock
): Promise<OwnReplica> {
  const { stateDir, runDir, peerListen } = config
  const consensus = { directory: join(stateDir, 'master'), segmentBytes, ...identity }
  if (peerListen === undefined) return await openReplica({ log, clock }, consensus)
  const peerToken = await ensureToken(tokenPaths(stateDir).peers)
  const tunnels = { api: join(runDir, 'master.sock'), agents: join(runDir, 'agents.sock') }
  return await openWithPeers({ log, clock }, { ...consensus, peerListen, peerToken, tunnels })
}
