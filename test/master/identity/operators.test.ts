import t, { type Test } from 'tap'
import { checkCaller, checkTenant } from '../../../master/api/caller.ts'
import { OperatorClient } from '../../../sdk/operator-client.ts'
import { never, placeOf } from '../../support/certified.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'

async function listening(t: Test): Promise<TestMaster> {
  const master = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0 })
  t.teardown(() => master.stop())
  return master
}

async function operator(master: TestMaster, more: object) {
  const { status, body } = await master.call('POST', '/v1/operators', more)
  if (status !== 201) throw new Error(JSON.stringify(body))
  return new OperatorClient({ kind: 'tls', ...placeOf(master), token: body.token as string })
}

t.test('an operator uses the API from another host, as far as its role goes, until it is removed', async (t) => {
  const master = await listening(t)
  const viewer = await operator(master, { name: 'eve', role: 'viewer' })
  t.same(await viewer.nodes.list(never()), [])
  await t.rejects(viewer.tasks.kill('x', {}, never()), {
    code: 'denied',
    message: /operator eve is a viewer; this needs the role operator/
  })
  await t.rejects(viewer.identity.overview(never()), { code: 'denied', message: /needs the role admin/ })
  const admin = await operator(master, { name: 'ada', role: 'admin' })
  t.equal((await admin.identity.createToken({ role: 'agent', ttlMs: 60_000, uses: 1 }, never())).token.split('.').length, 4)
  await admin.identity.removeOperator('eve', never())
  await t.rejects(viewer.nodes.list(never()), { code: 'denied', message: /unknown, removed or expired/ })
  t.match((await master.call('POST', '/v1/operators', { name: 'ada', role: 'viewer' })).body, { error: { code: 'conflict' } })
  t.match((await master.call('POST', '/v1/operators', { name: 'x', role: 'viewer', tenant: 'shop' })).body, {
    error: { code: 'invalid', message: /only the role operator/ }
  })
})

t.test('an operator of a tenant changes the tasks of its tenant and nothing else', async (t) => {
  const master = await listening(t)
  const shop = await operator(master, { name: 'sam', role: 'operator', tenant: 'shop' })
  const task = (role?: string) => ({
    image: 'host',
    arguments: ['true'],
    environment: [],
    ...(role === undefined ? {} : { role })
  })
  const own = await shop.tasks.run(task('shop/web'), never())
  await t.rejects(shop.tasks.run(task('shopping'), never()), {
    code: 'denied',
    message: /tasks of shop alone, and this one is of shopping/
  })
  await t.rejects(shop.tasks.run(task(), never()), { code: 'denied' })
  const other = (await master.call('POST', '/v1/tasks', task('bank'))).body as { readonly taskId: string }
  await t.rejects(shop.tasks.kill(other.taskId, {}, never()), { code: 'denied', message: /of bank/ })
  await t.rejects(shop.tasks.show(other.taskId, never()), { code: 'denied' })
  t.match(await shop.tasks.kill(own.taskId, {}, never()), { taskId: own.taskId })
  await t.rejects(shop.nodes.removeImage('x', 'y', never()), { code: 'denied', message: /and nothing else/ })
})

t.test('every write stands in the audit log: who, what, from where, and the result, also of what was refused', async (t) => {
  const master = await listening(t)
  const admin = await operator(master, { name: 'ada', role: 'admin' })
  const viewer = await operator(master, { name: 'eve', role: 'viewer' })
  await t.rejects(viewer.tasks.kill('x', {}, never()))
  await t.rejects(admin.tasks.kill('x', {}, never()))
  const stranger = new OperatorClient({
    kind: 'tls',
    ...placeOf(master),
    token: (await admin.identity.createToken({ role: 'agent', ttlMs: 60_000, uses: 1 }, never())).token
  })
  await t.rejects(stranger.tasks.kill('x', {}, never()), { code: 'denied' }, 'a token of hosts is none of people')
  const entries = await admin.identity.audit(never())
  t.match(entries, [
    { who: 'administrator of this host', from: 'socket', method: 'POST', path: '/v1/operators', status: 201 },
    { who: 'administrator of this host', method: 'POST', path: '/v1/operators', status: 201 },
    { who: 'operator eve', from: '127.0.0.1', method: 'POST', path: '/v1/tasks/x/kill', status: 403 },
    { who: 'operator ada', from: '127.0.0.1', method: 'POST', path: '/v1/tasks/x/kill', status: 404 },
    { who: 'operator ada', path: '/v1/tokens', status: 201 },
    { who: 'a stranger', from: '127.0.0.1', path: '/v1/tasks/x/kill', status: 403 }
  ])
  t.equal(entries.length, 6)
  t.notMatch(JSON.stringify(entries), /H1\./, 'and no secret')
})

t.test('what no row of the table names is for administrators', async (t) => {
  const viewer = { who: 'v', from: 'f', role: 'viewer' as const, tenant: '' }
  const someone = { ...viewer, role: 'operator' as const }
  t.doesNotThrow(() => checkCaller(viewer, 'GET', '/v1/tasks/:id/logs'))
  t.doesNotThrow(() => checkCaller(someone, 'POST', '/v1/tasks/:id/exec'))
  for (const [method, route] of [
    ['DELETE', '/v1/nodes/:id'],
    ['POST', '/v1/tokens'],
    ['POST', '/v1/new-thing'],
    ['GET', '/v1/new-thing'],
    ['GET', '/v1/audit'],
    ['GET', '']
  ] as const) {
    t.throws(() => checkCaller(someone, method, route), { code: 'denied' }, `${method} ${route}`)
  }
  t.throws(() => checkTenant({ ...someone, tenant: 'a' }, 'ab'), { code: 'denied' })
  t.doesNotThrow(() => checkTenant({ ...someone, tenant: 'a' }, 'a/b'))
})
