import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId, systemRandom } from '../../base/random.ts'
import { placeText } from '../../identity/places.ts'
import type { ConsensusConfig } from '../consensus/compose.ts'
import { type OpenReplica, openReplica } from '../consensus/open-replica.ts'
import type { ClusterState } from '../state/cluster.ts'
import { standIfLed } from './leader-gone.ts'
import { PeerCaller } from './peer-caller.ts'
import type { PeerChannel } from './peer-channel.ts'
import type { TunnelPurpose } from './peer-handshake.ts'
import { PeerServer } from './peer-server.ts'
import { TcpPeers } from './tcp-peers.ts'

interface PeersConfig extends ConsensusConfig {
  readonly raftId: number
  /** Where the other masters reach this one. */
  readonly peerListen: { readonly host: string; readonly port: number }
  /** Without it, in clear, and only on loopback. */
  readonly secure?: SecurePeers
  /** The secret of the masters of this cluster. */
  readonly peerToken: string
  readonly tunnels?: Readonly<Record<TunnelPurpose, string>>
}

interface SecurePeers {
  /** `state`: of the log, as far as it is applied; undefined before it is read. */
  readonly channel: (state: () => ClusterState | undefined) => PeerChannel
  /** Resolves when there is a certificate to show; undefined where there is one. */
  readonly ready: Promise<void> | undefined
}

interface PeersParts {
  readonly log: Log
  readonly clock: Clock
}

export interface ReplicaAmongPeers extends OpenReplica {
  readonly caller: PeerCaller
  /** The members that do not know this feature level, or that are not reached and so might not. */
  lackLevel(level: number): Promise<readonly number[]>
  /** Cuts the connections of others whose certificates are void by now. */
  recheckPeers(): void
}

/** One of several masters: its replica, the connections to the others, and what else it may ask of them. */
export async function openWithPeers(parts: PeersParts, config: PeersConfig): Promise<ReplicaAmongPeers> {
  const { clusterId, raftId, peerToken: token, peerListen, tunnels, secure } = config
  const channel = secure?.channel(() => replica?.state)
  const carried = channel === undefined ? {} : { channel }
  const identity = {
    clusterId,
    raftId,
    token,
    incarnation: randomId(),
    address: listenAddress(peerListen, channel !== undefined)
  }
  const closing = new AbortController()
  let replica: OpenReplica | undefined
  const onGone = (gone: number): void => {
    if (replica !== undefined) void standIfLed(replica.host, gone, { ...parts, random: systemRandom }, closing.signal)
  }
  const peers = new TcpPeers({ ...parts, ...carried, onGone }, identity)
  const server = new PeerServer({
    log: parts.log,
    identity,
    receive: (m) => {
      peers.heardFrom(m.from)
      replica?.host.receive(m)
    },
    onGoodbye: (peer) => peers.goodbyeOf(peer),
    onHello: (peer, address) => peers.heardOf(peer, address),
    ...(tunnels === undefined ? {} : { tunnels }),
    nodeIdOf: (peer) => peers.nodeIdOf(peer),
    ...carried
  })
  const listen = async (): Promise<void> => {
    if (!closing.signal.aborted) await server.listen(peerListen.host, peerListen.port).catch(notOpened(peerListen))
  }
  if (secure?.ready === undefined) await listen()
  // A founder is alone with its log until the log has an authority to sign its certificate.
  else void secure.ready.then(listen)
  const leave = async (): Promise<void> => {
    closing.abort()
    await peers.close('this master stops')
    await server.close()
  }
  try {
    const opened = await openReplica({ ...parts, transport: peers }, config)
    replica = opened
    return {
      ...opened,
      caller: new PeerCaller(identity, channel),
      lackLevel: async (level) => {
        const { members } = await opened.facts()
        const others = members.map((member) => member.raftId).filter((id) => id !== raftId)
        return others.filter((id) => (peers.featureLevelOf(id) ?? 0) < level)
      },
      recheckPeers: () => server.recheck(),
      close: async () => {
        await opened.close()
        await leave()
      }
    }
  } catch (e) {
    await leave()
    throw e
  }
}

const listenAddress = (place: PeersConfig['peerListen'], isSecure: boolean): string =>
  `${isSecure ? 'tls' : 'tcp'}:${placeText(place)}`

const notOpened =
  (place: PeersConfig['peerListen']) =>
  (e: unknown): never => {
    const seen = errnoOf(e)
    if (seen === undefined) throw e
    const next = 'is the port taken, is the address this host’s?'
    throw new Fault('unavailable', `--peer-listen ${placeText(place)} cannot be opened (${seen}): ${next}`, {}, e)
  }
