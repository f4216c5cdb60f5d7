import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { isFault } from '../../base/fault.ts'
import { channels, encodeStreamFrame, encodeStreamJson, StreamFrameDecoder, streamContentType } from '../../proto/stream-frame.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { StreamPart } from '../../sdk/stream.ts'
import { serveOnLoopback, serveOnSocket } from './http-fixture.ts'

const never = new AbortController().signal

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

async function collect(parts: AsyncIterable<StreamPart>): Promise<StreamPart[]> {
  const all: StreamPart[] = []
  for await (const part of parts) all.push(part)
  return all
}

t.test('a call sends JSON and gives back the answer', async (t) => {
  const endpoint = await serveOnSocket(t, async (request, response) => {
    const sent: unknown = JSON.parse(await bodyOf(request))
    response.end(JSON.stringify({ method: request.method, url: request.url, sent }))
  })
  const request = { image: 'host', arguments: ['true'], environment: [] }
  t.match(await new OperatorClient(endpoint).tasks.run(request, never), { method: 'POST', url: '/v1/tasks', sent: request })
})

t.test('ids and query values are encoded', async (t) => {
  const endpoint = await serveOnSocket(t, (request, response) => response.end(JSON.stringify({ entries: [request.url] })))
  t.strictSame(await new OperatorClient(endpoint).tasks.files('a/b c', 'x&y=1', never), [
    '/v1/tasks/a%2Fb%20c/files?path=x%26y%3D1'
  ])
})

t.test('an answer without a body is no mistake', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => response.writeHead(204).end())
  await t.resolves(new OperatorClient(endpoint).tasks.remove('a', true, never))
})

t.test('an error answer becomes the Fault that the master threw', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => {
    response
      .writeHead(409)
      .end(JSON.stringify({ error: { code: 'conflict', message: 'the name is taken', detail: { name: 'x' } } }))
  })
  await t.rejects(new OperatorClient(endpoint).tasks.show('x', never), {
    name: 'Fault',
    code: 'conflict',
    message: 'the name is taken',
    detail: { name: 'x' }
  })
})

t.test('an error answer of somebody else is told by its status', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => response.writeHead(502).end('<html>'))
  await t.rejects(new OperatorClient(endpoint).version(never), { code: 'unavailable', message: /502/ })
})

t.test('an answer that is not JSON is corrupt', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => response.end('{"version":'))
  await t.rejects(new OperatorClient(endpoint).version(never), { code: 'corrupt' })
})

t.test('a master that is not there is unavailable, and the sentence says where and what next', async (t) => {
  const failureAt = (path: string) => new OperatorClient({ kind: 'socket', path }).version(never).catch((e: unknown) => e)
  const failure = await failureAt('/nonexistent/no.sock')
  t.ok(isFault(failure, 'unavailable'))
  t.match(String(failure), /\/nonexistent\/no.sock is not there.*sudo hearth up.*npm start/)
  const tooLong = await failureAt(join('/nonexistent', 'x'.repeat(95)))
  t.match(String(tooLong), /x has 108 bytes, and the path of a unix socket at most 107;/)
})

t.test('an aborted signal ends a call with its reason', async (t) => {
  const stop = new AbortController()
  const endpoint = await serveOnSocket(t, () => stop.abort(new Error('enough')))
  await t.rejects(new OperatorClient(endpoint).tasks.wait('x', stop.signal), { message: 'enough' })
})

t.test('on loopback every request carries the token', async (t) => {
  const endpoint = await serveOnLoopback(t, 'sesame', (request, response) => {
    response.end(JSON.stringify({ version: request.headers.authorization, host: request.headers.host }))
  })
  const answer = await new OperatorClient(endpoint).version(never)
  t.match(answer, { version: 'Bearer sesame', host: /^127\.0\.0\.1:\d+$/ })
})

t.test('a log stream yields its bytes and its ending', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => {
    const bytes = Buffer.concat([
      encodeStreamFrame(channels.stdout, Buffer.from('out')),
      encodeStreamFrame(channels.stderr, Buffer.from('err')),
      encodeStreamJson(channels.end, { status: { state: 'finished', exitCode: 3 } })
    ])
    response.writeHead(200, { 'content-type': streamContentType })
    // Cut where it hurts: in the middle of a head and of a body.
    for (const [from, to] of [
      [0, 3],
      [3, 7],
      [7, 12],
      [12, bytes.length]
    ] as const)
      response.write(bytes.subarray(from, to))
    response.end()
  })
  const parts = await collect(await new OperatorClient(endpoint).tasks.logs('x', { follow: true }, never))
  t.strictSame(
    parts.map((p) => (p.kind === 'stdout' || p.kind === 'stderr' ? [p.kind, Buffer.from(p.data).toString()] : [p.kind])),
    [['stdout', 'out'], ['stderr', 'err'], ['end']]
  )
  t.match(parts[2], { ending: { status: { exitCode: 3 } } })
})

t.test('a stream that ends with an error throws it', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => {
    response.end(encodeStreamJson(channels.end, { error: { code: 'not-found', message: 'no such log' } }))
  })
  await t.rejects(collect(await new OperatorClient(endpoint).tasks.logs('x', {}, never)), {
    code: 'not-found',
    message: 'no such log'
  })
})

t.test('a stream that breaks off is unavailable, never taken for its end', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) =>
    response.end(encodeStreamFrame(channels.stdout, Buffer.from('a')))
  )
  await t.rejects(collect(await new OperatorClient(endpoint).tasks.logs('x', {}, never)), { code: 'unavailable' })
})

t.test('a duplex stream answers while it is still being written to', async (t) => {
  const endpoint = await serveOnSocket(t, async (request, response) => {
    const decoder = new StreamFrameDecoder()
    response.flushHeaders()
    for await (const chunk of request) {
      for (const frame of decoder.push(chunk as Buffer)) {
        if (frame.channel === channels.stdin) response.write(encodeStreamFrame(channels.stdout, frame.data))
        if (frame.channel === channels.stdinEnd) response.end(encodeStreamJson(channels.end, { exitCode: 0 }))
      }
    }
  })
  let answer = (): void => undefined
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  async function* input(): AsyncGenerator<Uint8Array> {
    yield encodeStreamJson(channels.open, {})
    yield encodeStreamFrame(channels.stdin, Buffer.from('ping'))
    await answered
    yield encodeStreamFrame(channels.stdinEnd, Buffer.alloc(0))
  }
  const kinds: string[] = []
  for await (const part of await new OperatorClient(endpoint).tasks.duplex('x', 'exec', input(), never)) {
    kinds.push(part.kind)
    if (part.kind === 'stdout') answer()
  }
  t.strictSame(kinds, ['stdout', 'end'])
})

t.test('a refusal in the middle of an upload is told, not the broken pipe', async (t) => {
  const endpoint = await serveOnSocket(t, (_request, response) => {
    response.writeHead(507, { connection: 'close' })
    response.end(JSON.stringify({ error: { code: 'exhausted', message: 'the disk is full' } }))
  })
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 10_000; i += 1) yield Buffer.alloc(64 * 1024)
  }
  await t.rejects(new OperatorClient(endpoint).nodes.importImage('n', { name: 'a' }, endless(), never), {
    code: 'exhausted',
    message: 'the disk is full'
  })
})

t.test('an upload asks the server to keep the connection, and ends it itself once it has read a refusal', async (t) => {
  let closed: Promise<unknown> = Promise.resolve()
  const endpoint = await serveOnSocket(t, (request, response) => {
    closed = new Promise((resolve) => request.socket.once('close', resolve))
    request.resume()
    request.on('error', () => undefined)
    const kept = request.headers.connection === 'keep-alive'
    response.writeHead(404).end(JSON.stringify({ error: { code: kept ? 'not-found' : 'corrupt', message: 'no such folder' } }))
  })
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.alloc(64 * 1024)
  }
  const refused = new OperatorClient(endpoint).tasks.writeArchive('x', 'nodir', endless(), never)
  await t.rejects(refused, { code: 'not-found', message: 'no such folder' })
  await closed
})

t.test('an upload that fails by itself is told as what it failed with, before the answer and in the middle of it', async (t) => {
  for (const answersFirst of [false, true]) {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x')
      await asked
      throw Object.assign(new Error('EACCES: permission denied, open'), { code: 'EACCES' })
    }
    let ask = (): void => undefined
    const asked = new Promise<void>((resolve) => {
      ask = resolve
    })
    const endpoint = await serveOnSocket(t, (request, response) => {
      request
        .on('error', () => undefined)
        .once('data', () => {
          if (answersFirst) response.writeHead(200).write(encodeStreamJson(channels.progress, {}), ask)
          else ask()
        })
    })
    const reading = new OperatorClient(endpoint).nodes.importImage('n', {}, broken(), never).then(collect)
    await t.rejects(reading, { code: 'EACCES' }, `answers first: ${answersFirst}`)
  }
})
