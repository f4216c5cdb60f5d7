import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createLocalRouter } from '../../../agent/local-api/router.ts'
import { serveLocalApi } from '../../../agent/local-api/server.ts'
import { silentLog } from '../../../base/log.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { localTask, startLocalAgent } from '../../support/local-agent.ts'

const top = { node: { cpus: 1 }, tasks: [] }

async function start(t: Test): Promise<{ readonly path: string; readonly refreshes: readonly boolean[] }> {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-api-')) // a socket's path must be short
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const path = join(directory, 's')
  const refreshes: boolean[] = []
  const tasks = { list: () => [localTask({})], find: () => localTask({}), stopAll: async () => undefined }
  const { streams, stop } = await startLocalAgent({ tasks: [] })
  t.teardown(stop)
  const router = createLocalRouter({
    tasks,
    streams,
    readLog: async function* () {},
    health: async (refresh) => {
      refreshes.push(refresh)
      return { verdict: 'OK', checks: [] }
    },
    node: {
      top: async () => top as never,
      metrics: async () => '# TYPE up gauge\nup 1\n',
      isolators: async () => ({ isolators: [], host: [{ name: 'runtime.crun', present: false, detail: 'not installed' }] })
    },
    log: silentLog
  })
  const service = serveLocalApi({ router, log: silentLog }, { path, mode: 0o660, group: 'hearth' })
  await service.start()
  t.teardown(() => service.stop(AbortSignal.timeout(5_000)))
  return { path, refreshes }
}

interface Answer {
  readonly status: number
  readonly type: string | undefined
  readonly text: string
}

function call(socketPath: string, path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, method, agent: false }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({ status: incoming.statusCode ?? 0, type: incoming.headers['content-type'], text })
      })
    })
    outgoing.on('error', reject)
    outgoing.end()
  })
}

t.test('the node tells its health, who uses it, and its metrics', async (t) => {
  const { path, refreshes } = await start(t)
  t.same(JSON.parse((await call(path, '/v1/health')).text), { verdict: 'OK', checks: [] })
  await call(path, '/v1/health?refresh=true')
  t.same(refreshes, [false, true], 'a look at everything is made for those who ask for it')
  t.same(JSON.parse((await call(path, '/v1/top')).text), top)
  t.match(await call(path, '/metrics'), { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: /\nup 1\n$/ })
  t.match(await call(path, '/metrics', 'POST'), { status: 400, text: /takes GET/ })
})

t.test('any request on the socket is answered or cut, and the next one is served', async (t) => {
  const { path } = await start(t)
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'get', 'G\0T', '')
  const paths = [
    '/metrics',
    '/v1/top',
    '/v1/health',
    '/v1/health?refresh=',
    '/v1/tasks/a/b/logs?tail=',
    '/v1/tasks/%',
    '/v1/',
    '//',
    ''
  ]
  const target = fc.tuple(fc.constantFrom(...paths), fc.string({ unit: 'binary', maxLength: 20 })).map((parts) => parts.join(''))
  const header = fc.constantFrom(
    'content-length: 5',
    'transfer-encoding: chunked',
    'content-length: -1',
    'expect: 100-continue',
    'a: \x01'
  )
  await fc.assert(
    fc.asyncProperty(method, target, header, fc.uint8Array({ maxLength: 200 }), async (verb, where, head, body) => {
      const client = connect(path)
      client.on('error', () => undefined)
      client.resume()
      client.end(Buffer.concat([Buffer.from(`${verb} ${where} HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n`), body]))
      await new Promise((resolve) => client.once('close', resolve))
    }),
    { numRuns: fuzzRuns(300) }
  )
  t.equal((await call(path, '/metrics')).status, 200)
})
