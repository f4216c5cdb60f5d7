import fc from 'fast-check'
import t from 'tap'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster } from '../../support/test-master.ts'

const gib = 1024 * 1024 * 1024

async function withAgent(t: { teardown(work: () => void): void }, master: TestMaster): Promise<ScriptedAgent> {
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  return agent
}

t.test('requests that make no sense are answered with one sentence', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const table: readonly [string, unknown, number, RegExp][] = [
    ['no image', { arguments: [] }, 400, /must have the field image/],
    ['an unknown field', { image: 'host', memory: '64m' }, 400, /unknown field: memory/],
    ['a wrong type', { image: 'host', milliCpu: 'lots' }, 400, /milliCpu must be a whole number$/],
    ['no CPU at all', { image: 'host', milliCpu: 0 }, 400, /milliCpu must be at least 1$/],
    ['a network of tomorrow', { image: 'host', network: 'bridge' }, 400, /network must be one of host, none/],
    ['a name that is a path', { image: 'host', name: '../x' }, 400, /name may hold letters/],
    ['a NUL in an argument', { image: 'host', arguments: ['a\0b'] }, 400, /arguments.0 may not hold a zero byte/],
    ['an equals sign in a variable', { image: 'host', environment: [{ name: 'A=B', value: '' }] }, 400, /environment.0.name/],
    ['half a character', { image: 'host', arguments: ['\ud800'] }, 400, /half a character/],
    ['no object', [], 400, /must be an object$/],
    ['an empty image', { image: '' }, 400, /^image may not be empty$/],
    ['a name without end', { image: 'host', name: 'x'.repeat(129) }, 400, /^name may have at most 128 characters$/],
    ['too many words', { image: 'host', arguments: Array(10_001).fill('') }, 400, /^arguments may have at most 10000 entries$/],
    ['no such signal', { image: 'host', killPolicy: { signal: 'NOPE' } }, 400, /^there is no signal "NOPE"/],
    [
      'an argument over the kernel’s limit',
      { image: 'host', arguments: ['a', 'x'.repeat(131_072)] },
      400,
      /^argument 2 has 131072 bytes/
    ],
    ['the limit counts bytes', { image: 'host', arguments: ['ä'.repeat(65_536)] }, 400, /^argument 1 has 131072 bytes/],
    [
      'a variable over it with its name',
      { image: 'host', environment: [{ name: 'LONG', value: 'x'.repeat(131_067) }] },
      400,
      /^the variable LONG has 131072 bytes and Linux takes at most 131071/
    ],
    ['no role', { image: 'host', role: 'a//b' }, 400, /^a role is \* or one or several parts of letters.* not "a\/\/b"$/],
    ['everybody’s role as a part', { image: 'host', role: 'a/*' }, 400, /^a role is/],
    ['invalid UTF-8', Buffer.from([0x22, 0xff, 0x22]), 400, /not valid UTF-8/],
    ['invalid JSON', Buffer.from('{"image":'), 400, /not valid JSON/]
  ]
  for (const [name, body, status, message] of table) {
    t.match(await master.call('POST', '/v1/tasks', body), { status, body: { error: { message } } }, name)
  }
  t.match(await master.call('GET', '/v1/tasks/nobody'), {
    status: 404,
    body: { error: { code: 'not-found', message: /no task named nobody/ } }
  })
  t.match(await master.call('GET', '/v1/tasks/%ff'), {
    status: 400,
    body: { error: { code: 'invalid', message: /percent-encoded/ } }
  })
  t.match(await master.call('GET', '/v1/nothing'), { status: 404, body: { error: { code: 'not-found' } } })
  t.match(await master.call('GET', '/v1/nodes/nobody'), { status: 404 })
  t.match(await master.call('POST', '/v1/tasks/nobody/kill'), { status: 404 }, 'a kill needs no body')
  t.same((await master.call('GET', '/v1/tasks')).body, { tasks: [] }, 'nothing is left behind')
})

t.test('ten megabytes of environment are refused by size, and the client gets to read why', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const environment = Array.from({ length: 100 }, (_, i) => ({ name: `V${i}`, value: 'x'.repeat(100_000) }))
  const answer = await master.call('POST', '/v1/tasks', { image: 'host', environment })
  t.match(answer, { status: 413, body: { error: { code: 'invalid', message: /limit of 1048576 bytes/ } } })
})

t.test('an argument and a variable of exactly the kernel’s limit are taken', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const environment = [{ name: 'LONG', value: 'x'.repeat(131_066) }]
  t.match(await master.call('POST', '/v1/tasks', { image: 'host', arguments: ['x'.repeat(131_071)], environment }), {
    status: 201
  })
})

t.test('a name is used once', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  t.equal((await master.call('POST', '/v1/tasks', { name: 'web', image: 'host' })).status, 201)
  const again = await master.call('POST', '/v1/tasks', { name: 'web', image: 'host' })
  t.match(again, {
    status: 409,
    body: { error: { code: 'conflict', message: /a task named web exists; remove it with hearth task rm web/ } }
  })
  t.match(await master.call('POST', '/v1/tasks', { image: 'repo.example/Some_Thing:3' }), {
    body: { taskId: /^something-[0-9a-f]{8}$/ }
  })
})

t.test('of many requests for one name exactly one wins', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => master.call('POST', '/v1/tasks', { name: 'x', image: 'host' }))
  )
  t.same(answers.map((a) => a.status).sort(), [201, 409, 409, 409, 409, 409, 409, 409])
})

t.test('with no node everything waits; what no node could ever hold is refused at once', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const huge = { image: 'host', memoryBytes: 900 * gib }
  t.match(await master.call('POST', '/v1/tasks', { ...huge, name: 'early' }), {
    status: 201,
    body: { state: 'staging', message: 'waits for a node', nodeId: null }
  })
  await withAgent(t, master)
  t.match(await master.call('POST', '/v1/tasks', huge), {
    status: 400,
    body: {
      error: {
        code: 'invalid',
        message: /can never fit: .* memory 900 GB, and the largest node, scripted, has memory 1 GB in all/
      }
    }
  })
  t.match(await master.call('POST', '/v1/tasks', { image: 'host', milliCpu: 3_000 }), { status: 400 })
  t.equal((await master.call('POST', '/v1/tasks', { image: 'host', milliCpu: 2_000, memoryBytes: gib })).status, 201)
})

t.test('a task that waits can be killed and removed', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  t.match(await master.call('DELETE', '/v1/tasks/a'), { status: 409, body: { error: { message: /is staging; kill it first/ } } })
  t.match(await master.call('GET', '/v1/tasks/a/files?path=/'), { status: 503, body: { error: { message: /does not run yet/ } } })
  const following = master.call('GET', '/v1/tasks/a/logs?follow=true')
  t.equal((await master.call('POST', '/v1/tasks/a/kill', {})).status, 202)
  t.match(await master.call('GET', '/v1/tasks/a/wait'), { body: { state: 'killed', message: /before it was placed/ } })
  t.match(await following, { status: 404, body: { error: { message: /never ran/ } } }, 'who waits for its log is told')
  t.equal((await master.call('DELETE', '/v1/tasks/a')).status, 204)
  await master.call('POST', '/v1/tasks', { name: 'b', image: 'host' })
  t.equal((await master.call('DELETE', '/v1/tasks/b?force=true')).status, 204)
  t.same((await master.call('GET', '/v1/tasks')).body, { tasks: [] })
})

t.test('a kill reaches the node with its policy, and a forced removal waits for the end', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = await withAgent(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', killPolicy: { signal: 'SIGINT', graceMs: 77 } })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'running' })
  await agent.next('StatusAcknowledgement')
  t.match(await master.call('POST', '/v1/tasks/a/kill', { signal: 'FOO' }), {
    status: 400,
    body: { error: { message: /^there is no signal "FOO"/ } }
  })
  t.equal((await master.call('POST', '/v1/tasks/a/kill', { signal: '15' })).status, 202)
  t.match(await agent.next('Kill'), { policy: { signal: 'SIGTERM' } }, 'numbers become names')
  t.equal((await master.call('POST', '/v1/tasks/a/kill', { graceMs: 5 })).status, 202)
  t.match(await agent.next('Kill'), { taskId: 'a', attempt: 1, policy: { signal: 'SIGINT', graceMs: 5 } })
  const removal = master.call('DELETE', '/v1/tasks/a?force=true')
  t.match(await agent.next('Kill'), { policy: { signal: 'SIGKILL', graceMs: 0 } })
  agent.status(launch, { state: 'killed', reason: 'kill_requested', signal: 9 })
  t.equal((await removal).status, 204)
  t.match(await agent.next('Forget'), { taskId: 'a' })
})

t.test('resources are held while a task runs and free when it has ended', async (t) => {
  const master = await startTestMaster({ allocationBatchMs: 20 })
  t.teardown(() => master.stop())
  const agent = await withAgent(t, master)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host', milliCpu: 1_500 })
  const first = await agent.takeLaunch()
  await master.call('POST', '/v1/tasks', { name: 'b', image: 'host', milliCpu: 1_500 })
  agent.status(first, { state: 'running' })
  await agent.next('StatusAcknowledgement')
  t.equal(agent.count('Launch'), 0, 'the second waits')
  agent.status(first, { state: 'finished', exitCode: 0 })
  t.match(await agent.takeLaunch(), { taskId: 'b' })
})

t.test('no bytes of a body bring the master down', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((b) => Buffer.from(b)),
    fc.json().map((s) => Buffer.from(s)),
    fc
      .record({ image: fc.string(), arguments: fc.jsonValue(), labels: fc.jsonValue() })
      .map((v) => Buffer.from(JSON.stringify(v)))
  )
  await fc.assert(
    fc.asyncProperty(body, async (bytes) => {
      const { status, body } = await master.call('POST', '/v1/tasks', bytes)
      return status === 201 || (status === 400 && typeof body.error.message === 'string')
    }),
    { numRuns: 150 }
  )
  t.equal((await master.call('GET', '/v1/version')).status, 200)
})

t.test('the OpenAPI document names every route', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { body } = await master.call('GET', '/v1/openapi.json')
  t.equal(body.openapi, '3.1.0')
  for (const path of ['/v1/tasks', '/v1/tasks/{id}/exec', '/v1/nodes/{id}/images', '/v1/events', '/v1/cluster', '/v1/version']) {
    t.ok(body.paths[path], path)
  }
  t.match(await master.call('GET', '/v1/cluster'), { status: 200, body: { term: 1, epoch: 1 } })
})

t.test('the statuses that are answered are those of the OpenAPI document, which tells errors and the token too', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const { body: document } = await master.call('GET', '/v1/openapi.json')
  const calls = [
    ['POST', '/v1/tasks', '/v1/tasks', { name: 'a', image: 'host' }],
    ['GET', '/v1/tasks', '/v1/tasks'],
    ['GET', '/v1/tasks/a', '/v1/tasks/{id}'],
    ['POST', '/v1/tasks/a/kill', '/v1/tasks/{id}/kill'],
    ['GET', '/v1/tasks/a/wait', '/v1/tasks/{id}/wait'],
    ['DELETE', '/v1/tasks/a', '/v1/tasks/{id}'],
    ['GET', '/v1/nodes', '/v1/nodes'],
    ['GET', '/v1/cluster', '/v1/cluster'],
    ['GET', '/v1/version', '/v1/version']
  ] as const
  for (const [method, path, template, body] of calls) {
    const { status } = await master.call(method, path, body)
    t.strictSame(
      Object.keys(document.paths[template][method.toLowerCase()].responses),
      [String(status), 'default'],
      `${method} ${path}`
    )
  }
  const failed = await master.call('GET', '/v1/tasks/nobody')
  const schema = document.components.schemas.Error.properties.error
  t.strictSame(Object.keys(failed.body.error).sort(), [...schema.required].sort())
  t.ok(schema.properties.code.enum.includes(failed.body.error.code))
  for (const operations of Object.values<Record<string, { responses: { default: { content: unknown } } }>>(document.paths)) {
    for (const { responses } of Object.values(operations))
      t.match(JSON.stringify(responses.default), '#/components/schemas/Error')
  }
  t.match(document, {
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    security: [{ bearer: [] }, {}]
  })
})
