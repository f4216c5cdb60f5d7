import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../base/clock.ts'
import { Fault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { inOrder } from '../../../base/service.ts'
import { callerHeader, callerText, localAdmin } from '../../../master/api/caller.ts'
import { relayedHeader } from '../../../master/api/relayed-header.ts'
import type { Visitor } from '../../../master/identity/guard.ts'
import { composeDoors } from '../../../master/main.ts'
import { clusterId, newNodeId } from '../../../proto/ids.ts'
import { startRelay } from '../../support/relay.ts'
import { operatorToken, startTestMaster, type TestMaster, textOf } from '../../support/test-master.ts'

type Headers = Readonly<Record<string, string>>

interface Asked {
  readonly status: number | undefined
  readonly error: string
}

/** The doors of a master that follows, in front of one that leads. */
async function follower(t: Test, leader: TestMaster) {
  const dir = await mkdtemp(join(tmpdir(), 'hearth-'))
  const relay = startRelay(leader.socket, { clock: systemClock, log: silentLog })
  const doors = composeDoors(
    () => relay,
    { log: silentLog, operators: () => leader.replica.state.operators },
    { runDir: dir, http: { host: '127.0.0.1', port: 0 }, agentListen: undefined },
    { operatorToken, socketGroup: undefined }
  )
  const services = inOrder('follower', [doors.http], () => AbortSignal.timeout(2_000))
  await services.start()
  let visitor: Visitor = { from: '192.0.2.7' }
  // In the place of the TLS door, which is tried elsewhere: it hands over connections and who they belong to.
  const open = createServer((socket) => doors.http.accept(socket, visitor))
  await new Promise<void>((resolve) => open.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    open.close()
    await services.stop(AbortSignal.timeout(2_000))
    await rm(dir, { recursive: true, force: true })
  })
  const loopback = new URL((await readFile(join(dir, 'http'), 'utf8')).trim())
  const address = open.address()
  const afar = { host: '127.0.0.1', port: typeof address === 'object' && address !== null ? address.port : 0 }
  return {
    fromAfar: (as: Visitor, method: string, path: string, headers: Headers = {}, body?: object) => {
      visitor = as
      return ask({ ...afar, method, path, headers }, body)
    },
    overLoopback: (method: string, path: string, headers: Headers) =>
      ask({ host: loopback.hostname, port: Number(loopback.port), method, path, headers }),
    atTheSocket: (method: string, path: string, headers: Headers = {}) =>
      ask({ socketPath: join(dir, 'master.sock'), method, path, headers })
  }
}

async function ask(options: object, body?: object): Promise<Asked> {
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = httpRequest({ ...options, agent: false }, resolve)
    if (bytes !== undefined) outgoing.setHeader('content-type', 'application/json')
    outgoing.once('error', reject)
    outgoing.end(bytes)
  })
  const text = await textOf(response)
  const { error } = (text.startsWith('{') ? JSON.parse(text) : {}) as { readonly error?: { readonly message: string } }
  return { status: response.statusCode, error: error?.message ?? '' }
}

const stranger: Visitor = { from: '192.0.2.7' }
/** What somebody sends who would like to be taken for a relaying master. */
const forged: Headers = { [callerHeader]: callerText(localAdmin('socket')), [relayedHeader]: '1' }

async function both(t: Test) {
  const leader = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0 })
  t.teardown(() => leader.stop())
  const tokenOf = async (role: string): Promise<Headers> => {
    const { status, body } = await leader.call('POST', '/v1/operators', { name: role, role })
    if (status !== 201) throw new Error(JSON.stringify(body))
    return { authorization: `Bearer ${body.token as string}` }
  }
  return { leader, follower: await follower(t, leader), tokenOf }
}

t.test('whoever asks a follower is to the leader who it is, never the master that relays', async (t) => {
  const { follower, tokenOf } = await both(t)
  const viewer = await tokenOf('viewer')
  const order = { role: 'agent', ttlMs: 60_000, uses: 1 }
  t.match(await follower.fromAfar(stranger, 'GET', '/v1/nodes', viewer), { status: 200 })
  t.match(await follower.fromAfar(stranger, 'POST', '/v1/tokens', viewer, order), {
    status: 403,
    error: /operator viewer is a viewer; this needs the role admin/
  })
  t.match(await follower.fromAfar(stranger, 'GET', '/v1/raft/backup', viewer), { status: 403, error: /needs the role admin/ })
  t.match(await follower.fromAfar(stranger, 'POST', '/v1/tokens', await tokenOf('admin'), order), { status: 201 })
})

t.test('who is nobody stays nobody, whatever he sends of himself', async (t) => {
  const { leader, follower, tokenOf } = await both(t)
  const denied = { status: 403, error: /may not use the API/ }
  for (const headers of [{}, forged]) {
    t.match(await follower.fromAfar(stranger, 'GET', '/v1/nodes', headers), denied)
    t.match(await follower.fromAfar(stranger, 'GET', '/v1/raft', headers), denied, 'nor what a follower answers for itself')
    t.match(await follower.fromAfar(stranger, 'DELETE', `/v1/nodes/${newNodeId()}`, headers), denied)
  }
  t.match(await follower.fromAfar(stranger, 'GET', '/v1/nodes', { ...forged, authorization: 'Bearer guess' }), {
    status: 403,
    error: /unknown, removed or expired/
  })
  const raised = { ...forged, ...(await tokenOf('viewer')) }
  t.match(await follower.fromAfar(stranger, 'GET', '/v1/identity', raised), { status: 403, error: /needs the role admin/ })
  t.match(await follower.overLoopback('GET', '/v1/nodes', forged), { status: 403, error: /send the token/ })

  const name = { clusterId: clusterId(leader.replica.state.clusterId), role: 'agent' as const, nodeId: newNodeId() }
  const node: Visitor = { from: '192.0.2.7', node: { ...name, serial: '01' } }
  t.match(await follower.fromAfar(node, 'GET', '/v1/nodes', forged), { status: 403, error: /agent .* may not use the API/ })
  const refused: Visitor = { from: '192.0.2.7', refusal: new Fault('denied', 'it was removed') }
  t.match(await follower.fromAfar(refused, 'GET', '/v1/nodes', forged), { status: 403, error: /it was removed/ })
})

t.test(
  'the administrator of the host of a follower is one at the leader, and what was relayed once is not relayed again',
  async (t) => {
    const { follower } = await both(t)
    t.match(await follower.atTheSocket('GET', '/v1/identity'), { status: 200 })
    t.match(await follower.overLoopback('GET', '/v1/identity', { authorization: `Bearer ${operatorToken}` }), { status: 200 })
    const viewer = callerText({ who: 'operator eve', from: '192.0.2.7', role: 'viewer', tenant: '' })
    t.match(await follower.atTheSocket('GET', '/v1/raft', { [callerHeader]: viewer, [relayedHeader]: '1' }), { status: 200 })
    t.match(await follower.atTheSocket('GET', '/v1/nodes', { [relayedHeader]: '1' }), { status: 421 })
  }
)
