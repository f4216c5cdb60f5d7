import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { randomId, systemRandom } from '../../base/random.ts'
import type { ConsensusConfig } from '../consensus/compose.ts'
import { type OpenReplica, openReplica } from '../consensus/open-replica.ts'
import { standIfLed } from './leader-gone.ts'
import { PeerCaller } from './peer-caller.ts'
import type { PeerChannel } from './peer-channel.ts'
import type { TunnelPurpose } from './peer-handshake.ts'
import { PeerServer } from './peer-server.ts'
import { TcpPeers } from './tcp-peers.ts'

interface PeersConfig extends ConsensusConfig {
  readonly raftId: number
  /** Where the other masters reach this one; in clear only on loopback. */
  readonly peerListen: { readonly host: string; readonly port: number }
  /** Without it, in clear. */
  readonly channel?: PeerChannel
  /** The secret of the masters of this cluster. */
  readonly peerToken: string
  readonly tunnels?: Readonly<Record<TunnelPurpose, string>>
}

interface PeersParts {
  readonly log: Log
  readonly clock: Clock
}

/** One of several masters: its replica, the connections to the others, and what else it may ask of them. */
export async function openWithPeers(
  parts: PeersParts,
  config: PeersConfig
): Promise<OpenReplica & { readonly caller: PeerCaller }> {
  const { clusterId, raftId, peerToken: token, peerListen, tunnels, channel } = config
  const carried = channel === undefined ? {} : { channel }
  const identity = { clusterId, raftId, token, incarnation: randomId(), address: listenAddress(peerListen) }
  const closing = new AbortController()
  let replica: OpenReplica | undefined
  const onGone = (gone: number): void => {
    if (replica !== undefined) void standIfLed(replica.host, gone, { ...parts, random: systemRandom }, closing.signal)
  }
  const peers = new TcpPeers({ ...parts, ...carried, onGone }, identity)
  const server = new PeerServer({
    log: parts.log,
    identity,
    receive: (m) => replica?.host.receive(m),
    onGoodbye: (peer) => peers.goodbyeOf(peer),
    onHello: (peer, address) => peers.heardOf(peer, address),
    ...(tunnels === undefined ? {} : { tunnels }),
    nodeIdOf: (peer) => peers.nodeIdOf(peer),
    ...carried
  })
  await server.listen(peerListen.host, peerListen.port)
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
      caller: new PeerCaller(identity),
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

const listenAddress = ({ host, port }: PeersConfig['peerListen']): string =>
  `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`
