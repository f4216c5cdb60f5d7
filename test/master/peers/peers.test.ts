import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { decodePeerMessage, PeerEncoder } from '../../../master/peers/peer-codec.ts'
import { encodeHello, frameTypes, type PeerIdentity } from '../../../master/peers/peer-handshake.ts'
import { PeerServer } from '../../../master/peers/peer-server.ts'
import { TcpPeers } from '../../../master/peers/tcp-peers.ts'
import { type Message, message } from '../../../master/raft/message.ts'
import { encodeMessage } from '../../../proto/codec.ts'
import { encodeFrame } from '../../../proto/frame.ts'
import { until } from '../../support/until.ts'

const two: PeerIdentity = { clusterId: 'c', raftId: 2, incarnation: 'two', token: 'secret' }
const one: PeerIdentity = { ...two, raftId: 1, incarnation: 'one' }

async function listening(t: Test) {
  const received: Message[] = []
  const goodbyes: number[] = []
  const server = new PeerServer({
    log: silentLog,
    identity: two,
    receive: (m) => received.push(m),
    onGoodbye: (raftId) => goodbyes.push(raftId)
  })
  const port = await server.listen('127.0.0.1', 0)
  t.teardown(() => server.close())
  return { server, port, received, goodbyes }
}

function peersOf(t: Test, port: number, onGone: (raftId: number) => void = () => undefined): TcpPeers {
  const peers = new TcpPeers({ log: silentLog, clock: systemClock, onGone }, one)
  peers.membersAre([{ raftId: 2, nodeId: 'n2', address: `tcp:127.0.0.1:${port}`, agentAddress: '' }])
  t.teardown(() => peers.close('the test is over'))
  return peers
}

const heartbeat = (commit: number): Message => Object.assign(message('heartbeat', 2), { from: 1, term: 3, commit })

function anAppend(): Message {
  const entries = [
    { term: 3, index: 8, type: 'normal' as const, data: new Uint8Array(Buffer.from('abc')) },
    { term: 3, index: 9, type: 'conf-change-v2' as const, data: new Uint8Array() }
  ]
  return Object.assign(message('append', 2), { from: 1, term: 3, logTerm: 2, index: 7, commit: 6, entries })
}

const encoded = (m: Message, encoder = new PeerEncoder()): Uint8Array => {
  const { head, entries } = encoder.encode(m)
  return Buffer.concat([head, entries])
}

t.test('entries that go to several masters are encoded once, and other entries are not taken for them', async (t) => {
  const encoder = new PeerEncoder()
  const [one, two, three] = [anAppend(), { ...anAppend(), to: 3 }, { ...anAppend(), to: 3 }]
  two.entries = one.entries.slice()
  three.entries = one.entries.slice(1)
  t.equal(encoder.encode(one).entries, encoder.encode(two).entries)
  for (const m of [one, two, three, anAppend()]) t.same(decodePeerMessage(encoded(m, encoder)).message, m)
})

t.test('a message is the same after the wire', async (t) => {
  const vote = Object.assign(message('vote', 2), { from: 1, term: 4, force: true })
  const refusal = Object.assign(message('append-response', 2), {
    from: 1,
    term: 4,
    index: 9,
    reject: true,
    rejectHint: 5,
    logTerm: 2
  })
  const read = Object.assign(message('read-index', 2), { from: 1, context: '1/x/7', readRound: 2 })
  for (const m of [anAppend(), heartbeat(1), vote, refusal, read]) t.same(decodePeerMessage(encoded(m)).message, m)
  t.throws(() => decodePeerMessage(encodeMessage('PeerMessage', { type: 99 })), { code: 'invalid' })
})

t.test('messages arrive in order, a goodbye is heard, and a large snapshot comes whole', async (t) => {
  const { port, received, goodbyes } = await listening(t)
  const peers = peersOf(t, port)
  await until(() => {
    peers.send([heartbeat(0)])
    return received.length > 0
  })
  received.length = 0
  peers.send([anAppend(), ...Array.from({ length: 50 }, (_, i) => heartbeat(i + 1))])
  await until(() => received.filter((m) => m.commit === 50).length === 1)
  const fresh = received.slice(received.findIndex((m) => m.type === 'append'))
  t.same(fresh[0], anAppend())
  t.same(
    fresh.slice(1).map((m) => m.commit),
    Array.from({ length: 50 }, (_, i) => i + 1)
  )
  const data = new Uint8Array(Buffer.alloc(1_500_000, 'snapshot'))
  const confState = { voters: [1, 2], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
  const m = Object.assign(message('snapshot', 2), { from: 1, term: 3, snapshot: { index: 40, term: 3, confState, data } })
  await peers.sendSnapshot(m, data)
  t.match(received.at(-1)?.snapshot, { index: 40, term: 3, confState: { voters: [1, 2] } })
  t.ok(Buffer.from(received.at(-1)?.snapshot?.data ?? []).equals(data))
  await peers.close('a planned stop')
  await until(() => goodbyes.includes(1))
})

t.test('whoever is not of the cluster is refused, and nothing of what it says is heard', async (t) => {
  const { port, received } = await listening(t)
  const hello = (identity: Partial<PeerIdentity>, to = 2): Buffer =>
    encodeFrame(frameTypes.hello, encodeHello({ ...one, ...identity }, to))
  const half = hello({}).subarray(0, 20)
  const wrongSum = Buffer.from(hello({}))
  wrongSum.writeUInt8(wrongSum.readUInt8(12) ^ 1, 12)
  const strangers: readonly (readonly [string, Buffer])[] = [
    ['another cluster', hello({ clusterId: 'other' })],
    ['the wrong secret', hello({ token: 'guess' })],
    ['taken for somebody else', hello({}, 3)],
    ['our own id', hello({ raftId: 2 })],
    ['no greeting', encodeFrame(frameTypes.message, encoded(heartbeat(1)))],
    ['garbage', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a wrong checksum', wrongSum],
    ['an oversized frame', Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])]
  ]
  for (const [who, bytes] of strangers) {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('error', () => undefined)
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write(Buffer.concat([bytes, encodeFrame(frameTypes.message, encoded(heartbeat(9)))]))
    socket.resume()
    await closed
    t.pass(who)
  }
  const slow = connect({ host: '127.0.0.1', port })
  const cut = new Promise((resolve) => slow.once('close', resolve))
  slow.on('error', () => undefined)
  slow.resume()
  slow.write(half)
  await cut
  t.same(received, [])
})

t.test('a peer whose port refuses is told as gone, one that said goodbye is not', async (t) => {
  const gone: number[] = []
  const { server, port } = await listening(t)
  const peers = peersOf(t, port, (raftId) => gone.push(raftId))
  const other = await listening(t)
  await until(() => other.port > 0)
  const quiet = new TcpPeers({ log: silentLog, clock: systemClock, onGone: (raftId) => gone.push(10 + raftId) }, one)
  quiet.membersAre([{ raftId: 2, nodeId: 'n2', address: `tcp:127.0.0.1:${other.port}`, agentAddress: '' }])
  t.teardown(() => quiet.close('the test is over'))
  await until(() => {
    peers.send([heartbeat(1)])
    quiet.send([heartbeat(2)])
    return other.received.length > 0
  })
  quiet.goodbyeOf(2)
  await other.server.close()
  await server.close()
  await until(() => gone.length > 0)
  t.same(gone, [2])
})

t.test('one that is spoken to and stays silent is dialled anew, one that answers is not', async (t) => {
  const hellos: number[] = []
  const silent = new PeerServer({
    log: silentLog,
    identity: two,
    receive: () => undefined,
    onGoodbye: () => undefined,
    onHello: (raftId) => hellos.push(raftId)
  })
  const port = await silent.listen('127.0.0.1', 0)
  t.teardown(() => silent.close())
  const peers = new TcpPeers({ log: silentLog, clock: systemClock, onGone: () => undefined, stallMs: 100 }, one)
  peers.membersAre([{ raftId: 2, nodeId: 'n2', address: `tcp:127.0.0.1:${port}`, agentAddress: '' }])
  t.teardown(() => peers.close('the test is over'))
  const sinceMs = performance.now()
  await until(() => {
    peers.send([heartbeat(0)])
    peers.heardFrom(2)
    return performance.now() - sinceMs > 300
  })
  t.equal(hellos.length, 1)
  await until(() => {
    peers.send([heartbeat(0)])
    return hellos.length >= 3
  })
})
