import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { serveLocalApi } from '../../../agent/local-api/server.ts'
import { readLog } from '../../../agent/logs/reader.ts'
import { silentLog } from '../../../base/log.ts'
import { completeMessage } from '../../../proto/codec.ts'
import { channels, StreamFrameDecoder } from '../../../proto/stream-frame.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { type LocalAgentOptions, localTask, startLocalAgent } from '../../support/local-agent.ts'
import { until } from '../../support/until.ts'

async function start(t: Test, options: LocalAgentOptions) {
  const agent = await startLocalAgent(options)
  t.teardown(() => agent.stop())
  return agent
}

interface Answer {
  readonly status: number
  readonly body: Buffer
}

function call(socketPath: string, path: string, method = 'GET', body: Uint8Array = Buffer.alloc(0)): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, method, agent: false }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks) }))
      incoming.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

const json = ({ status, body }: Answer): unknown => ({ status, ...JSON.parse(body.toString()) })

t.test('tasks are listed and found, ids percent-decoded', async (t) => {
  const odd = 'a b%/ü'.replace('/', ':')
  const { socketPath } = await start(t, { tasks: [localTask({ taskId: odd })] })
  t.match(json(await call(socketPath, '/v1/health')), { status: 200, healthy: true })
  t.match(json(await call(socketPath, '/v1/tasks')), { status: 200, tasks: [{ taskId: odd, state: 'running' }] })
  t.match(json(await call(socketPath, `/v1/tasks/hearth-tasks/${encodeURIComponent(odd)}`)), { status: 200, taskId: odd })
})

t.test('every refusal is one JSON error', async (t) => {
  const { socketPath } = await start(t, { tasks: [localTask({})] })
  const rows: readonly (readonly [string, string, number, string])[] = [
    ['GET', '/', 404, 'not-found'],
    ['GET', '/v1/tasks/hearth-tasks/two', 404, 'not-found'],
    ['GET', '/v1/tasks/hearth-tasks/a%2Fb', 400, 'invalid'],
    ['GET', '/v1/tasks/hearth-tasks/%2e%2e', 400, 'invalid'],
    ['GET', `/v1/tasks/hearth-tasks/${'x'.repeat(256)}`, 400, 'invalid'],
    ['GET', '/v1/tasks/hearth-tasks/one%', 404, 'not-found'],
    ['GET', `/v1/${'x'.repeat(9000)}`, 400, 'invalid'],
    ['DELETE', '/v1/tasks', 400, 'invalid'],
    ['GET', '/v1/tasks/hearth-tasks/one/logs?tail=-1', 400, 'invalid'],
    ['GET', '/v1/tasks/hearth-tasks/one/logs?stream=both', 400, 'invalid'],
    ['GET', '/v1/images', 404, 'not-found'],
    ['POST', '/v1/tasks/hearth-tasks/one/exec', 400, 'invalid']
  ]
  for (const [method, path, status, code] of rows) {
    t.match(
      json(await call(socketPath, path, method)),
      { status, error: { code, message: String } },
      `${method} ${path.slice(0, 60)}`
    )
  }
})

t.test('logs stream as frames and end with the status of the task', async (t) => {
  const logPath = join(t.testdir(), 'log')
  writeFileSync(logPath, '2026-11-22T00:00:00.000000000+00:00 stdout F one\n2026-11-22T00:00:01.000000000+00:00 stderr F two\n')
  const ended = new AbortController()
  const latest = () => completeMessage('TaskStatus', { state: 'finished', exitCode: 0 })
  const { socketPath } = await start(t, { tasks: [localTask({ logPath, latest, ended: ended.signal })], readLog })
  const frames = ({ body }: Answer) => new StreamFrameDecoder().push(body).map((f) => [f.channel, Buffer.from(f.data).toString()])
  const path = '/v1/tasks/hearth-tasks/one/logs'
  t.same(frames(await call(socketPath, path)), [
    [channels.stdout, 'one\n'],
    [channels.stderr, 'two\n'],
    [channels.end, '{"status":null}']
  ])
  t.same(frames(await call(socketPath, `${path}?stream=stderr`)).length, 2)
  const following = call(socketPath, `${path}?follow&tail=1`)
  writeFileSync(logPath, '2026-11-22T00:00:02.000000000+00:00 stdout F three\n', { flag: 'a' })
  ended.abort()
  const followed = frames(await following)
  t.same(followed.at(-2), [channels.stdout, 'three\n'])
  t.match(JSON.parse(followed.at(-1)?.[1] as string), { status: { state: 'finished', exitCode: 0 } })
})

t.test('a log that fails before its first byte is an HTTP error, later an end frame', async (t) => {
  const { Fault } = await import('../../../base/fault.ts')
  let pieces = 0
  const { socketPath } = await start(t, {
    tasks: [localTask({})],
    async *readLog() {
      for (let i = 0; i < pieces; i += 1) yield { stream: 'stdout', atMs: 0, data: Buffer.from('x') }
      throw new Fault('corrupt', 'the log is damaged')
    }
  })
  t.match(json(await call(socketPath, '/v1/tasks/hearth-tasks/one/logs')), { status: 500, error: { code: 'corrupt' } })
  pieces = 1
  const { status, body } = await call(socketPath, '/v1/tasks/hearth-tasks/one/logs')
  t.equal(status, 200)
  t.match(JSON.parse(Buffer.from(new StreamFrameDecoder().push(body).at(-1)?.data ?? []).toString()), {
    error: { code: 'corrupt' }
  })
})

t.test('a task that never ran has no log, and it is told why', async (t) => {
  const logPath = join(t.testdir(), 'never/log')
  const facts = { state: 'failed', reason: 'image_unknown', message: 'there is no image x on this node' } as const
  const failed = { logPath, latest: () => completeMessage('TaskStatus', facts), ended: AbortSignal.abort() }
  const tasks = [localTask(failed), localTask({ taskId: 'two', logPath })]
  const { socketPath } = await start(t, { tasks, readLog })
  t.match(json(await call(socketPath, '/v1/tasks/hearth-tasks/one/logs')), {
    status: 404,
    error: {
      code: 'not-found',
      message: 'task one has no log: it ended as failed (image_unknown): there is no image x on this node',
      detail: { reason: 'image_unknown' }
    }
  })
  t.match(json(await call(socketPath, '/v1/tasks/hearth-tasks/two/logs')), {
    status: 404,
    error: { message: /never launched here/ }
  })
})

t.test('a client that goes away ends the work for it', async (t) => {
  let signal: AbortSignal | undefined
  const { socketPath } = await start(t, {
    tasks: [localTask({})],
    async *readLog(_request, _ended, given) {
      signal = given
      while (!given.aborted) {
        yield { stream: 'stdout', atMs: 0, data: Buffer.alloc(100_000) }
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  })
  const client = connect(socketPath)
  client.write('GET /v1/tasks/hearth-tasks/one/logs?follow HTTP/1.1\r\nhost: x\r\n\r\n')
  await new Promise((resolve) => client.once('data', resolve))
  client.destroy()
  await until(() => signal?.aborted === true)
  t.pass('aborted')
})

t.test('files of the sandbox go out and in', async (t) => {
  const sandboxDir = t.testdir()
  mkdirSync(join(sandboxDir, 'files/d'), { recursive: true })
  writeFileSync(join(sandboxDir, 'files/d/f'), 'hello')
  symlinkSync('/etc', join(sandboxDir, 'files/etc'))
  const { socketPath } = await start(t, { tasks: [localTask({ sandboxDir, state: 'ended' })] })
  const path = '/v1/tasks/hearth-tasks/one'
  t.match(json(await call(socketPath, `${path}/files?path=d`)), { status: 200, entries: [{ name: 'f', kind: 'file', bytes: 5 }] })
  t.match(json(await call(socketPath, `${path}/files?path=etc/ssl`)), { status: 403, error: { code: 'denied' } })
  const tar = await call(socketPath, `${path}/archive?path=d`)
  t.equal(tar.status, 200)
  mkdirSync(join(sandboxDir, 'files/copy'))
  t.match(json(await call(socketPath, `${path}/archive?path=copy`, 'PUT', tar.body)), { status: 200, entries: 2, bytes: 5 })
  t.equal(readFileSync(join(sandboxDir, 'files/copy/d/f'), 'utf8'), 'hello')
  t.match(json(await call(socketPath, `${path}/archive?path=copy`, 'PUT', Buffer.alloc(1024, 'x'))), { status: 400 })
})

t.test('random bytes on the socket harm nobody else', async (t) => {
  const { socketPath } = await start(t, { tasks: [localTask({})] })
  const heads = ['', 'GET ', 'POST /v1/tasks/hearth-tasks/one/exec HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n']
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...heads), fc.uint8Array({ maxLength: 400 }), async (head, bytes) => {
      const client = connect(socketPath)
      client.on('error', () => undefined)
      client.resume()
      client.end(Buffer.concat([Buffer.from(head), bytes]))
      await new Promise((resolve) => client.once('close', resolve))
    }),
    { numRuns: fuzzRuns(150) }
  )
  t.match(json(await call(socketPath, '/v1/health')), { status: 200 })
})

t.test('a second server on a living socket is refused, a dead one is replaced', async (t) => {
  const agent = await start(t, { tasks: [] })
  const second = serveLocalApi(
    { router: () => Promise.reject(new Error('never asked')), log: silentLog },
    { path: agent.socketPath, mode: 0o660, group: 'hearth' }
  )
  await t.rejects(second.start(), { code: 'conflict' })
  t.match(json(await call(agent.socketPath, '/v1/health')), { status: 200 })
  const path = `${agent.socketPath}.file`
  writeFileSync(path, 'x')
  const blocked = serveLocalApi(
    { router: () => Promise.reject(new Error('')), log: silentLog },
    { path, mode: 0o660, group: 'x' }
  )
  await t.rejects(blocked.start(), { code: 'conflict' })
})
