import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { newCertificateRequest } from '../../../identity/certificate-request.ts'
import { type Credentials, credentialsOf } from '../../../identity/credentials.ts'
import type { CertifiedRole } from '../../../identity/name.ts'
import { pem } from '../../../identity/pem.ts'
import { type Authority, issue, newAuthority } from '../../../master/identity/authority.ts'
import { type PeerChannel, secureChannel } from '../../../master/peers/peer-channel.ts'
import type { PeerIdentity } from '../../../master/peers/peer-handshake.ts'
import { PeerServer } from '../../../master/peers/peer-server.ts'
import { TcpPeers } from '../../../master/peers/tcp-peers.ts'
import { type Message, message } from '../../../master/raft/message.ts'
import { newClusterId, newNodeId } from '../../../proto/ids.ts'
import { until } from '../../support/until.ts'

const clusterId = newClusterId()
const log = silentLog

async function credentialsFrom(authority: Authority, role: CertifiedRole = 'master', nodeId = newNodeId()): Promise<Credentials> {
  const { key, request } = await newCertificateRequest()
  const { pem: certificate } = await issue(authority, { name: { clusterId, role, nodeId }, request, nowMs: Date.now() })
  return credentialsOf({ key, certificate, authorities: pem('CERTIFICATE', authority.certificate) })
}

const channelOf = (credentials: Credentials, isGood = (): boolean => true): PeerChannel =>
  secureChannel({ credentials: () => credentials, isGood, log })

async function listening(t: Test, channel: PeerChannel, nodeIdOf: (raftId: number) => string | undefined = () => undefined) {
  const received: Message[] = []
  const identity: PeerIdentity = { clusterId, raftId: 2, incarnation: 'two', token: 's' }
  const server = new PeerServer({
    log,
    identity,
    receive: (m) => received.push(m),
    onGoodbye: () => undefined,
    channel,
    nodeIdOf
  })
  const port = await server.listen('127.0.0.1', 0)
  t.teardown(() => server.close())
  return { port, received, server }
}

function speaking(t: Test, channel: PeerChannel, port: number, onGone: (raftId: number) => void = () => undefined) {
  const warned: string[] = []
  const noting = { ...log, warn: (fields: Readonly<Record<string, unknown>>) => void warned.push(String(fields['reason'])) }
  const identity: PeerIdentity = { clusterId, raftId: 1, incarnation: 'one', token: 's' }
  const peers = new TcpPeers({ log: noting, clock: systemClock, onGone, channel }, identity)
  peers.membersAre([{ raftId: 2, nodeId: 'n2', agentAddress: '', address: `tls:127.0.0.1:${port}` }])
  t.teardown(() => peers.close('the test is over'))
  return { peers, warned }
}

const heartbeat = Object.assign(message('heartbeat', 2), { from: 1, term: 3 })

t.test('masters speak over TLS where each shows a certificate of a master of the cluster', async (t) => {
  const authority = await newAuthority(clusterId, Date.now())
  const { port, received } = await listening(t, channelOf(await credentialsFrom(authority)))
  const { peers } = speaking(t, channelOf(await credentialsFrom(authority)), port)
  await until(() => {
    peers.send([heartbeat])
    return received.length > 0
  })
  t.match(received[0], { type: 'heartbeat', from: 1, term: 3 })
})

t.test(
  'a certificate of an agent, of another cluster, a removed one, or that of another member gets nothing through',
  async (t) => {
    const authority = await newAuthority(clusterId, Date.now())
    const own = await credentialsFrom(authority)
    const stranger = await newAuthority(clusterId, Date.now())
    const rows: readonly (readonly [string, PeerChannel, PeerChannel, ((raftId: number) => string) | undefined])[] = [
      ['an agent calls', channelOf(own), channelOf(await credentialsFrom(authority, 'agent')), undefined],
      ['an agent answers', channelOf(await credentialsFrom(authority, 'agent')), channelOf(own), undefined],
      ['another cluster calls', channelOf(own), channelOf(await credentialsFrom(stranger)), undefined],
      ['another cluster answers', channelOf(await credentialsFrom(stranger)), channelOf(own), undefined],
      ['a removed master calls', channelOf(own, () => false), channelOf(await credentialsFrom(authority)), undefined],
      ['one master calls itself another', channelOf(own), channelOf(await credentialsFrom(authority)), () => newNodeId()]
    ]
    for (const [what, server, client, nodeIdOf] of rows) {
      const { port, received } = await listening(t, server, nodeIdOf)
      const { peers, warned } = speaking(t, client, port)
      await until(() => {
        peers.send([heartbeat])
        return warned.length >= 2
      })
      t.same(received, [], what)
    }
  }
)

t.test('a port that refuses tells that the process has ended, and nothing goes out in clear', async (t) => {
  const authority = await newAuthority(clusterId, Date.now())
  const credentials = await credentialsFrom(authority)
  const gone: number[] = []
  const { port, received, server } = await listening(t, channelOf(credentials))
  const { peers } = speaking(t, channelOf(await credentialsFrom(authority)), port, (raftId) => gone.push(raftId))
  await until(() => {
    peers.send([heartbeat])
    return received.length > 0
  })
  await server.close()
  await until(() => gone.length > 0)
  t.same(gone, [2])
  const heard: Buffer[] = []
  const plain = createServer((socket) => socket.on('data', (chunk) => heard.push(chunk)))
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
  t.teardown(() => plain.close())
  const address = plain.address()
  const { peers: other } = speaking(t, channelOf(credentials), typeof address === 'object' && address !== null ? address.port : 0)
  other.send([heartbeat])
  await until(() => heard.length > 0)
  t.equal(heard[0]?.[0], 22, 'a TLS handshake (RFC 8446, 5.1)')
})

t.test('a master that is removed is cut off, with a certificate that is good for long', async (t) => {
  const authority = await newAuthority(clusterId, Date.now())
  const removed = new Set<string>()
  const nodeId = newNodeId()
  const isGood = (who: string): boolean => !removed.has(who)
  const own = await credentialsFrom(authority)
  const { port, received, server } = await listening(t, secureChannel({ credentials: () => own, isGood, log }))
  const { peers, warned } = speaking(t, channelOf(await credentialsFrom(authority, 'master', nodeId)), port)
  const other = speaking(t, channelOf(await credentialsFrom(authority)), port)
  await until(() => {
    peers.send([heartbeat])
    return received.length > 0
  })
  await until(() => {
    other.peers.send([Object.assign(message('heartbeat', 2), { from: 1, term: 4 })])
    return received.some((m) => m.term === 4)
  })
  server.recheck()
  removed.add(nodeId)
  server.recheck()
  await until(() => {
    peers.send([heartbeat])
    return warned.length >= 2
  })
  received.length = 0
  await until(() => {
    peers.send([heartbeat])
    other.peers.send([Object.assign(message('heartbeat', 2), { from: 1, term: 5 })])
    return received.some((m) => m.term === 5)
  })
  t.notOk(received.some((m) => m.term === 3))
  t.same(other.warned, [], 'the others keep their connections')
})
