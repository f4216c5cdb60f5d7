import { execFile } from 'node:child_process'
import { createServer } from 'node:tls'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { meet, renew } from '../../../identity/enrolment.ts'
import { parseJoinToken } from '../../../identity/join-token.ts'
import { contextOf } from '../../../identity/secure-channel.ts'
import { clusterId, newClusterId, newNodeId } from '../../../proto/ids.ts'
import { certified, channel, never, placeOf, tokenOf } from '../../support/certified.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'
import { until } from '../../support/until.ts'

async function listening(t: Test): Promise<TestMaster> {
  const master = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0 })
  t.teardown(() => master.stop())
  return master
}

t.test('a token lets an agent in over TLS 1.3, as the node of its certificate and no other', async (t) => {
  const master = await listening(t)
  const credentials = await certified(master)
  t.match(credentials.name, { clusterId: master.replica.state.clusterId, role: 'agent' })
  const socket = await channel(master, credentials)
  t.equal(socket.getProtocol(), 'TLSv1.3')
  const agent = new ScriptedAgent(socket, credentials.name.nodeId)
  t.teardown(() => agent.close())
  await agent.join('')
  const { body } = await master.call('GET', '/v1/nodes')
  t.match(body.nodes, [{ nodeId: credentials.name.nodeId, connected: true }])
  const liar = new ScriptedAgent(await channel(master, credentials), newNodeId())
  liar.hello('')
  t.match(await liar.next('Refusal'), { code: 'denied', message: /the certificate is of node .*, and the agent calls itself/ })
  await liar.closed
})

t.test('who has no certificate, one of another cluster, or the agent token of the host is refused with the reason', async (t) => {
  const [master, other] = [await listening(t), await listening(t)]
  const own = await certified(master)
  const foreign = await certified(other)
  const nothing = { key: '', certificate: '' }
  const refusalOf = async ({ key, certificate }: { readonly key: string; readonly certificate: string }, token: string) => {
    const made = { ...own, key, certificate }
    const agent = new ScriptedAgent(await channel(master, made), foreign.name.nodeId)
    agent.hello(token)
    const refusal = await agent.next('Refusal')
    await agent.closed
    return refusal
  }
  t.match(await refusalOf(nothing, ''), { code: 'denied', message: /needs a certificate: hearth agent join/ })
  t.match(await refusalOf(nothing, master.token), { code: 'denied', message: /needs a certificate/ })
  t.match(await refusalOf(foreign, ''), { code: 'denied', message: /the certificate is of another cluster/ })
  await t.rejects(channel(master, foreign), { code: /SELF_SIGNED|UNABLE/ }, 'and the agent does not believe that master')
  await t.rejects(channel(master, own, newClusterId()), { code: 'conflict' }, 'nor one of a cluster that is not its own')
})

t.test('a token is good for as many hosts as it says, for its role, for its time, and until it is revoked', async (t) => {
  const master = await listening(t)
  const twice = await tokenOf(master, { uses: 2 })
  await certified(master, twice.token)
  t.match((await master.call('GET', '/v1/identity')).body.tokens, [{ tokenId: twice.tokenId, usesLeft: 1 }])
  await certified(master, twice.token)
  const refused = { code: 'denied', message: /unknown, revoked, expired or used up/ }
  await t.rejects(certified(master, twice.token), refused)
  const revoked = await tokenOf(master)
  t.equal((await master.call('DELETE', `/v1/tokens/${revoked.tokenId}`)).status, 204)
  t.equal((await master.call('DELETE', `/v1/tokens/${revoked.tokenId}`)).status, 404)
  await t.rejects(certified(master, revoked.token), refused)
  const forMasters = await tokenOf(master, { role: 'master' })
  await t.rejects(certified(master, forMasters.token), { code: 'denied', message: /for the role master/ })
  const short = await tokenOf(master, { ttlMs: 1_000 })
  await master.replica.propose('', 0, {}) // time goes on: this replica stamps a millisecond a command
  master.replica.state.atMs += 1_000
  await t.rejects(certified(master, short.token), refused)
  const [id, secret] = [short.tokenId, 'A'.repeat(43)]
  const guessed = (await tokenOf(master)).token.replace(/^H1\.[^.]+\.[^.]+/, `H1.${id}.${secret}`)
  const { index } = master.replica.state
  await t.rejects(certified(master, guessed), refused)
  t.equal(master.replica.state.index, index, 'a guess costs no entry of the log')
})

t.test('the secret is not said to a server that does not show the authority of the token', async (t) => {
  const [master, other] = [await listening(t), await listening(t)]
  const impostor = await certified(other)
  let heard = 0
  const server = createServer({ ...contextOf(impostor) }, (socket) => socket.on('data', (chunk) => (heard += chunk.length)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  const at = { host: '127.0.0.1', port: typeof address === 'object' && address !== null ? address.port : 0 }
  const token = parseJoinToken((await tokenOf(master)).token)
  await t.rejects(meet(at, token, never()), { code: 'denied', message: /does not belong to the cluster.*nothing was sent/ })
  t.equal(heard, 0)
})

t.test('a removed node is cut off at once and its certificate opens nothing', async (t) => {
  const master = await listening(t)
  const credentials = await certified(master)
  const { nodeId } = credentials.name
  const agent = new ScriptedAgent(await channel(master, credentials), nodeId)
  await agent.join('')
  const { body } = await master.call('DELETE', `/v1/nodes/${nodeId}`)
  t.match(body, { error: { code: 'conflict', message: /is connected: end that there/ } })
  t.equal((await master.call('DELETE', `/v1/nodes/${nodeId}?force=true`)).status, 204)
  await agent.closed
  const again = new ScriptedAgent(await channel(master, credentials), nodeId)
  again.hello('')
  t.match(await again.next('Refusal'), { code: 'denied', message: /was removed from the cluster/ })
  await t.rejects(renew(placeOf(master), credentials, never()), { code: 'denied', message: /was removed/ })
  await t.rejects(certified(master, undefined, nodeId), { code: 'conflict', message: /removed for good/ })
  t.match((await master.call('GET', '/v1/nodes')).body.nodes, [{ nodeId, condition: 'agent_gone', connected: false }])
})

t.test(
  'a renewed certificate leaves the one before it good until the next, so that a lost answer locks nobody out',
  async (t) => {
    const master = await listening(t)
    const first = await certified(master)
    const second = (await renew(placeOf(master), first, never())).credentials
    t.not(second.serial, first.serial)
    const lost = (await renew(placeOf(master), first, never())).credentials
    const agent = new ScriptedAgent(await channel(master, lost), first.name.nodeId)
    t.teardown(() => agent.close())
    await agent.join('')
    const superseded = await renew(placeOf(master), second, never()).catch((e: unknown) => e)
    t.match(superseded, { code: 'denied', message: /has got a newer certificate/ })
  }
)

t.test('a token gives nobody the place of a node that lives', async (t) => {
  const master = await listening(t)
  const { name } = await certified(master)
  await t.rejects(certified(master, undefined, name.nodeId), { code: 'conflict', message: /has a certificate that is good/ })
})

t.test('from another host the API is closed, and an older TLS is not spoken', async (t) => {
  const master = await listening(t)
  const { port } = placeOf(master)
  const ask = async (path: string, ...args: string[]) =>
    promisify(execFile)('curl', ['-sk', '--max-time', '10', ...args, `https://127.0.0.1:${port}${path}`])
  for (const [path, ...args] of [
    ['/v1/nodes'],
    ['/v1/identity', '-H', `Authorization: Bearer ${master.token}`],
    ['/v1/certificates', '-H', 'content-type: application/json', '-d', '{"request":"x"}']
  ] as const) {
    t.match(JSON.parse((await ask(path, ...args)).stdout), { error: { code: 'denied' } }, path)
  }
  await t.rejects(ask('/v1/version', '--tls-max', '1.2'))
})

t.test('garbage at the door ends that connection alone', async (t) => {
  const master = await listening(t)
  const { connect } = await import('node:net')
  const socket = connect(placeOf(master))
  socket.on('error', () => undefined)
  socket.write(Buffer.alloc(10_000, 7))
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const credentials = await certified(master)
  const agent = new ScriptedAgent(await channel(master, credentials), credentials.name.nodeId)
  agent.raw(Buffer.alloc(100, 255))
  t.match(await agent.next('Refusal'), { code: 'corrupt' })
  await until(() => master.master.agentLink.sessions === 0)
})

t.test('the authority’s key is nowhere in clear, and its seal opens with the key of the cluster alone', async (t) => {
  const { seal, unseal } = await import('../../../master/identity/seal.ts')
  const { newAuthority } = await import('../../../master/identity/authority.ts')
  const { key } = await newAuthority(clusterId(newClusterId()), Date.now())
  const own = new Uint8Array(32).fill(1)
  const sealed = await seal(key, own)
  t.notMatch(sealed, /PRIVATE/)
  t.notOk(sealed.includes(key.split('\n')[1] ?? 'x'))
  t.equal(await unseal(sealed, own), key)
  await t.rejects(unseal(sealed, new Uint8Array(32).fill(2)), { code: 'denied' })
  await t.rejects(unseal(`${sealed.slice(0, -4)}AAAA`, own), { code: 'denied' })
})
