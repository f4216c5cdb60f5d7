import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { MemoryReplica } from '../support/memory-replica.ts'
import { ScriptedAgent } from '../support/scripted-agent.ts'
import { startTestMaster } from '../support/test-master.ts'

t.test('a policy is set, counts for the roles below, outlives its master and can be removed', async (t) => {
  const replica = new MemoryReplica()
  const first = await startTestMaster({}, replica)
  t.match(await first.call('GET', '/v1/tenants/shop%2Fweb'), {
    body: { role: 'shop/web', from: null, capabilities: [], images: ['*'] }
  })
  const set = await first.call('PATCH', '/v1/tenants/shop', { capabilities: ['net_raw'], required: ['read-only-root'] })
  t.match(set, { status: 200, body: { role: 'shop', from: 'shop', capabilities: ['CAP_NET_RAW'], hostPaths: ['/'] } })
  await first.call('PATCH', '/v1/tenants/shop', { hostPaths: [] })
  await first.stop()

  const second = await startTestMaster({}, replica)
  t.teardown(() => second.stop())
  t.match(await second.call('GET', '/v1/tenants/shop%2Fweb'), {
    body: { from: 'shop', required: ['read-only-root'], hostPaths: [] }
  })
  await second.call('PATCH', '/v1/tenants/shop%2Fweb', { required: [] })
  t.match(await second.call('GET', '/v1/tenants/shop%2Fweb'), { body: { from: 'shop/web', capabilities: ['CAP_NET_RAW'] } })
  t.same(
    (await second.call('GET', '/v1/tenants')).body.tenants.map((one: { role: string }) => one.role),
    ['shop', 'shop/web']
  )
  t.equal((await second.call('DELETE', '/v1/tenants/shop%2Fweb')).status, 204)
  t.equal((await second.call('DELETE', '/v1/tenants/shop%2Fweb')).status, 404)
  t.match(await second.call('GET', '/v1/tenants/shop%2Fweb'), { body: { from: 'shop' } })
})

t.test('keys of signatures are kept as public keys, and nothing else is taken for one', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const set = (keys: readonly string[]) =>
    master.call('PATCH', '/v1/tenants/shop', { signatures: [{ images: 'reg.example/*', keys }] })
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  t.match(await set([`a comment\n${pem}`]), {
    status: 200,
    body: { signatures: [{ images: 'reg.example/*', keys: [pem], anyName: false }] }
  })
  const secret = await set([privateKey.export({ type: 'pkcs8', format: 'pem' }) as string])
  t.match(secret, { status: 400, body: { error: { message: /that is a private key/ } } })
  const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey.export({ type: 'spki', format: 'pem' }) as string
  t.match(await set([weak]), { status: 400, body: { error: { message: /kind rsa 1024 bits are not understood/ } } })
  t.match(await set(['cosign.pub']), { status: 400, body: { error: { message: /is no public key/ } } })
  t.equal((await set([])).status, 400)
  t.match(await master.call('GET', '/v1/tenants/shop'), { body: { signatures: [{ keys: [pem] }] } })
})

t.test('what is no policy is refused with a sentence', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const refused = (body: object, role = 'shop') => master.call('PATCH', `/v1/tenants/${role}`, body)
  t.match(await refused({ required: ['moat'] }), { status: 400, body: { error: { message: /no wall "moat"/ } } })
  t.match(await refused({ capabilities: ['FLY'] }), { status: 400, body: { error: { message: /no Linux capability "FLY"/ } } })
  t.match(await refused({ moat: [] }), { status: 400, body: { error: { message: /unknown field: moat/ } } })
  t.equal((await refused({ images: ['*'] }, '..')).status, 400)
  t.same((await master.call('GET', '/v1/tenants')).body.tenants, [])
})

t.test(
  'a task outside its role’s policy is refused as it is asked for, and one inside takes the policy to its node',
  async (t) => {
    const master = await startTestMaster()
    t.teardown(() => master.stop())
    const agent = new ScriptedAgent(master.agents)
    t.teardown(() => agent.close())
    await agent.join(master.token, { capabilities: [{ name: 'task.walls', present: true, detail: '' }] })
    const asked = { name: 'web', image: 'host', arguments: ['true'], role: 'shop', walls: { addCapabilities: ['NET_RAW'] } }
    t.match(await master.call('POST', '/v1/tasks', asked), {
      status: 403,
      body: { error: { code: 'denied', message: /a task of role shop may not add CAP_NET_RAW/ } }
    })
    t.equal((await master.call('GET', '/v1/tasks/web')).status, 404, 'nothing of it is kept')
    await master.call('PATCH', '/v1/tenants/shop', { capabilities: ['NET_RAW'] })
    t.match(await master.call('POST', '/v1/tasks', asked), {
      status: 201,
      body: { walls: { addCapabilities: ['CAP_NET_RAW'] }, seccomp: 'default' }
    })
    const launch = await agent.takeLaunch()
    t.match(launch.group?.policy, { role: 'shop', capabilities: ['CAP_NET_RAW'] })
    t.match(launch.group?.tasks[0]?.walls, { addCapabilities: ['CAP_NET_RAW'] })
  }
)

t.test('a policy that changes while a task waits counts at its launch', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  await master.call('POST', '/v1/tasks', { name: 'late', image: 'host', arguments: ['true'], role: 'shop' })
  await master.call('PATCH', '/v1/tenants/shop', { images: ['redis'] })
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token, { capabilities: [{ name: 'task.walls', present: true, detail: '' }] })
  t.match(await master.call('GET', '/v1/tasks/late/wait'), {
    body: { state: 'error', reason: 'policy_refused', message: /may not use the image host, only redis/ }
  })
})

t.test('walls that contradict themselves are refused as they are asked for', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const refused = async (walls: object) => (await master.call('POST', '/v1/tasks', { image: 'host', walls })).body.error?.message
  t.match(await refused({ addCapabilities: ['KILL'], dropCapabilities: ['CAP_KILL'] }), /CAP_KILL is both added and dropped/)
  t.match(await refused({ limits: [{ name: 'nofile', soft: 2, hard: 1 }] }), /soft limit nofile=2 is above the hard one, 1/)
  t.match(await refused({ addCapabilities: ['FLY'] }), /no Linux capability "FLY"/)
  t.match(await refused({ moat: true }), /unknown field: moat/)
})

t.test('each role that asks for a user namespace has ids of its own, on every node and under the next master', async (t) => {
  const replica = new MemoryReplica()
  const ran = async (names: Readonly<Record<string, string>>) => {
    const master = await startTestMaster({}, replica)
    const agent = new ScriptedAgent(master.agents)
    const capabilities = ['task.walls', 'user-namespace'].map((name) => ({ name, present: true, detail: '' }))
    await agent.join(master.token, { capabilities })
    const given: Record<string, number | undefined> = {}
    for (const [name, role] of Object.entries(names)) {
      await master.call('POST', '/v1/tasks', { name, role, image: 'host', arguments: ['true'], walls: { userNamespace: true } })
      const { group } = await agent.takeLaunch()
      given[group?.tasks[0]?.name ?? ''] = group?.ids?.first
      t.equal(group?.ids?.count, 65_536)
    }
    await master.call('POST', '/v1/tasks', {
      name: `plain-${Object.keys(names).join('')}`,
      role: 'shop',
      image: 'host',
      arguments: ['true']
    })
    t.equal((await agent.takeLaunch()).group?.ids, null, 'who asks for none gets none')
    agent.close()
    await master.stop()
    return given
  }
  const base = 1_879_048_192
  t.same(await ran({ a: 'shop', b: 'shop/web', c: 'shop' }), { a: base, b: base + 65_536, c: base })
  t.same(await ran({ d: 'bank', e: 'shop/web' }), { d: base + 2 * 65_536, e: base + 65_536 })
})

t.test('a tenant whose tasks must have ids of their own', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  await master.call('PATCH', '/v1/tenants/shop', { required: ['user-namespace'] })
  t.match(await master.call('POST', '/v1/tasks', { image: 'host', arguments: ['true'], role: 'shop' }), {
    status: 403,
    body: { error: { message: /a task of role shop must have ids of its own/ } }
  })
})
