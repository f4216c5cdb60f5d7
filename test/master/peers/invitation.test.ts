import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Fault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { PeerCaller } from '../../../master/peers/peer-caller.ts'
import type { PeerIdentity } from '../../../master/peers/peer-handshake.ts'
import { PeerServer } from '../../../master/peers/peer-server.ts'
import { awaitInvitation } from '../../../master/peers/waiting-room.ts'
import { highestFeatureLevel } from '../../../master/state/cluster.ts'
import type { PeerInvitation } from '../../../proto/gen/messages.ts'
import { freePort } from '../../support/masters.ts'

const leader: PeerIdentity = { clusterId: 'c', raftId: 1, incarnation: 'one', token: 'secret' }
const never = new AbortController().signal

async function waiting(t: Test, accept: (invitation: PeerInvitation) => Promise<void>) {
  const port = await freePort()
  const stop = new AbortController()
  t.teardown(() => stop.abort(new Error('the test is over')))
  const listen = { host: '127.0.0.1', port }
  const config = { listen, token: 'secret', nodeId: 'n7', agentAddress: 'tcp:127.0.0.1:9' }
  const invited = awaitInvitation({ log: silentLog, accept }, config, stop.signal)
  invited.catch(() => undefined) // some tests end without an invitation
  await new Promise<void>((resolve) => {
    const look = (): void => {
      const socket = connect(listen)
      socket.once('connect', () => resolve(void socket.destroy()))
      socket.once('error', () => setImmediate(look))
    }
    look()
  })
  return { invited, peer: { raftId: 0, ...listen } }
}

const invitation = (nodeId: string) => ({ clusterId: 'c', raftId: 4, nodeId, agentToken: 'a', operatorToken: 'o' })

t.test('a waiting master says who it is, and is taken in', async (t) => {
  const taken: PeerInvitation[] = []
  const { invited, peer } = await waiting(t, async (one) => void taken.push(one))
  const caller = new PeerCaller(leader)
  const featureLevel = highestFeatureLevel
  t.same(await caller.knock(peer, never), { nodeId: 'n7', agentAddress: 'tcp:127.0.0.1:9', raftId: 0, featureLevel })
  await caller.invite(peer, invitation('n7'), never)
  await invited
  t.match(taken, [{ clusterId: 'c', raftId: 4, agentToken: 'a', operatorToken: 'o' }])
})

t.test(
  'an invitation that is meant for another, or that cannot be kept, is refused with the reason; it goes on waiting',
  async (t) => {
    let isBroken = true
    const { invited, peer } = await waiting(t, async () => {
      if (isBroken) throw new Fault('exhausted', 'the disk is full')
    })
    const caller = new PeerCaller(leader)
    await t.rejects(caller.invite(peer, invitation('n8'), never), { code: 'conflict', message: /it is n7, not n8/ })
    await t.rejects(caller.invite(peer, invitation('n7'), never), { code: 'conflict', message: /the disk is full/ })
    isBroken = false
    await caller.invite(peer, invitation('n7'), never)
    await t.resolves(invited)
  }
)

t.test('who does not know the secret learns nothing, and a master of another cluster is not taken in', async (t) => {
  const { peer } = await waiting(t, async () => undefined)
  const stranger = new PeerCaller({ ...leader, token: 'guess' })
  await t.rejects(stranger.knock(peer, never), { code: 'unavailable', message: /does not share the secret/ })

  const server = new PeerServer({
    log: silentLog,
    identity: { ...leader, clusterId: 'other', raftId: 2 },
    receive: () => t.fail('nothing reaches the core'),
    onGoodbye: () => undefined
  })
  const port = await server.listen('127.0.0.1', 0)
  t.teardown(() => server.close())
  await t.rejects(new PeerCaller(leader).knock({ raftId: 0, host: '127.0.0.1', port }, never), { code: 'unavailable' })
})

t.test('a tunnel leads to the doors of the other master, for its peers alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-tunnel-'))
  const path = join(folder, 'door')
  const door = createServer((socket) => socket.pipe(socket))
  await new Promise<void>((resolve) => door.listen(path, resolve))
  const identity = { ...leader, raftId: 2, incarnation: 'two' }
  const parts = { log: silentLog, identity, receive: () => undefined, onGoodbye: () => undefined }
  const server = new PeerServer({ ...parts, tunnels: { api: path, agents: path } })
  const peer = { raftId: 2, host: '127.0.0.1', port: await server.listen('127.0.0.1', 0) }
  t.teardown(async () => {
    await server.close()
    await new Promise((resolve) => door.close(resolve))
    rmSync(folder, { recursive: true })
  })
  const tunnel = await new PeerCaller(leader).tunnel(peer, 'api', never)
  const echoed = new Promise<string>((resolve) => tunnel.once('data', (chunk: Buffer) => resolve(chunk.toString())))
  tunnel.write('to and fro')
  t.equal(await echoed, 'to and fro')
  tunnel.destroy()
  await t.rejects(new PeerCaller({ ...leader, token: 'guess' }).tunnel(peer, 'api', never), { code: 'unavailable' })
})
