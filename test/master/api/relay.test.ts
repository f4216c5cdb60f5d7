import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { streamWindow } from '../../../master/api/stream-relay.ts'
import type { Launch } from '../../../proto/gen/messages.ts'
import { channels, encodeStreamFrame, StreamFrameDecoder, streamContentType } from '../../../proto/stream-frame.ts'
import { OperatorClient } from '../../../sdk/operator-client.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster, type TestMaster, textOf } from '../../support/test-master.ts'

interface Stage {
  readonly master: TestMaster
  readonly agent: ScriptedAgent
  readonly launch: Launch & { readonly frameworkId: string; readonly taskId: string }
}

async function stage(t: { teardown(work: () => unknown): void }): Promise<Stage> {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
  await master.call('POST', '/v1/tasks', { name: 'a', image: 'host' })
  const launch = await agent.takeLaunch()
  agent.status(launch, { state: 'running' })
  await agent.next('StatusAcknowledgement')
  return { master, agent, launch }
}

const stdin = (text: string): Buffer => encodeStreamFrame(channels.stdin, Buffer.from(text))

/** Something to send in pieces, as they are pushed. */
function pipe() {
  const pieces: (Buffer | undefined)[] = []
  let wake: (() => void) | undefined
  async function* read(): AsyncGenerator<Buffer> {
    for (;;) {
      if (pieces.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      const piece = pieces.shift()
      if (piece === undefined) return
      yield piece
    }
  }
  const push = (piece: Buffer | undefined): void => {
    pieces.push(piece)
    wake?.()
  }
  return { read: read(), push }
}

t.test('exec talks both ways while the request is still open', async (t) => {
  const { master, agent } = await stage(t)
  const input = pipe()
  input.push(stdin('first'))
  const headers = { 'content-type': streamContentType }
  const opening = master.open('POST', '/v1/tasks/a/exec', input.read, headers)
  const { stream, duplex, path } = await agent.next('StreamOpen')
  t.match({ duplex, path }, { duplex: true, path: '/v1/tasks/hearth-tasks/a/exec' })
  t.same(Buffer.from((await agent.next('StreamData')).data), stdin('first'), 'the agent is told before it answers')
  agent.send('StreamHead', { stream, status: 200, contentType: streamContentType, window: streamWindow })
  const response = await opening
  const chunks = response[Symbol.asyncIterator]()
  for (const text of ['one', 'two']) {
    input.push(stdin(text))
    t.same(Buffer.from((await agent.next('StreamData')).data), stdin(text))
    agent.send('StreamData', { stream, data: Buffer.from(`echo ${text}`) })
    t.equal(String((await chunks.next()).value), `echo ${text}`)
  }
  input.push(undefined)
  t.match(await agent.next('StreamEnd'), { stream, aborted: false }, 'the end of the input is passed on')
  agent.send('StreamEnd', { stream })
  t.equal((await chunks.next()).done, true)
})

t.test('the agent gets credit only as the client reads', async (t) => {
  const { master, agent } = await stage(t)
  const opening = master.open('GET', '/v1/tasks/a/logs')
  const { stream, window } = await agent.next('StreamOpen')
  t.equal(window, streamWindow)
  agent.send('StreamHead', { stream, status: 200, contentType: 'application/octet-stream' })
  const response = await opening
  response.pause()
  let credit = window
  let sent = 0
  const total = 16 * 1024 * 1024
  const piece = Buffer.alloc(64 * 1024, 1)
  const reading = (async (): Promise<number> => {
    let read = 0
    for await (const chunk of response) read += (chunk as Buffer).length
    return read
  })()
  while (sent < total) {
    while (credit < piece.length) credit += (await agent.next('StreamCredit')).bytes
    agent.send('StreamData', { stream, data: piece })
    credit -= piece.length
    sent += piece.length
  }
  agent.send('StreamEnd', { stream })
  t.equal(await reading, total, 'every byte arrives')
})

t.test('an agent that overruns its window is cut off', async (t) => {
  const { master, agent } = await stage(t)
  const opening = master.open('GET', '/v1/tasks/a/logs')
  const { stream } = await agent.next('StreamOpen')
  agent.send('StreamHead', { stream, status: 200, contentType: streamContentType })
  await opening
  agent.send('StreamData', { stream, data: Buffer.alloc(streamWindow + 1) })
  t.match(await agent.next('StreamEnd'), { stream, aborted: true })
})

t.test('the master never sends more than it was given credit for', async (t) => {
  const { master, agent } = await stage(t)
  const input = pipe()
  const big = Buffer.alloc(3 * streamWindow, 7)
  input.push(big)
  input.push(undefined)
  const opening = master.open('PUT', '/v1/tasks/a/archive?path=x', input.read, { 'content-type': 'application/x-tar' })
  const { stream, method, path } = await agent.next('StreamOpen')
  t.match({ method, path }, { method: 'PUT', path: '/v1/tasks/hearth-tasks/a/archive?path=x' })
  let got = 0
  while (got < streamWindow) got += (await agent.next('StreamData')).data.length
  t.equal(got, streamWindow)
  agent.send('Heartbeat', { sequence: 444 })
  while ((await agent.next('HeartbeatAnswer')).sequence !== 444) t.pass('an answer to an earlier one')
  t.equal(agent.count('StreamData'), 0, 'not one byte more')
  while (got < big.length) {
    agent.send('StreamCredit', { stream, bytes: 100_000 })
    let more = 0
    while (more < 100_000 && got < big.length) {
      const { data } = await agent.next('StreamData')
      more += data.length
      got += data.length
    }
  }
  t.equal(got, big.length)
  t.match(await agent.next('StreamEnd'), { aborted: false })
  agent.send('StreamHead', { stream, status: 204, contentType: 'application/json' })
  agent.send('StreamEnd', { stream })
  t.equal((await opening).statusCode, 204, 'the answer may come after the whole body')
})

t.test('who goes away stops the stream on the agent', async (t) => {
  const { master, agent } = await stage(t)
  const opening = master.open('GET', '/v1/tasks/a/logs?follow=true')
  const { stream } = await agent.next('StreamOpen')
  agent.send('StreamHead', { stream, status: 200, contentType: streamContentType })
  const response = await opening
  response.on('error', () => undefined)
  response.destroy()
  t.match(await agent.next('StreamEnd'), { stream, aborted: true })
})

t.test('a stream that breaks in the middle ends with the reason', async (t) => {
  const { master, agent } = await stage(t)
  const opening = master.open('GET', '/v1/tasks/a/logs?follow=true')
  const { stream } = await agent.next('StreamOpen')
  agent.send('StreamHead', { stream, status: 200, contentType: streamContentType })
  agent.send('StreamData', { stream, data: encodeStreamFrame(channels.stdout, Buffer.from('so far')) })
  const response = await opening
  const decoder = new StreamFrameDecoder()
  const frames: { channel: number; text: string }[] = []
  for await (const chunk of response) {
    for (const f of decoder.push(chunk as Buffer)) frames.push({ channel: f.channel, text: Buffer.from(f.data).toString() })
    if (frames.length === 1) agent.close()
  }
  t.match(frames, [
    { channel: channels.stdout, text: 'so far' },
    { channel: channels.end, text: /"code":"unavailable".*connection to the node is gone/ }
  ])
})

t.test('what the agent refuses reaches the client as it is', async (t) => {
  const { master, agent } = await stage(t)
  const call = master.call('GET', '/v1/tasks/a/files?path=/nowhere')
  const { stream } = await agent.next('StreamOpen')
  agent.send('StreamHead', { stream, status: 404, contentType: 'application/json' })
  agent.send('StreamData', { stream, data: Buffer.from('{"error":{"code":"not-found","message":"no such file"}}') })
  agent.send('StreamEnd', { stream })
  t.match(await call, { status: 404, body: { error: { message: 'no such file' } } })
})

t.test('streams of one agent are bounded, and a node that is away is named', async (t) => {
  const { master, agent } = await stage(t)
  const many = Array.from({ length: 256 }, () => master.open('GET', '/v1/tasks/a/logs?follow=true'))
  for (let i = 0; i < 256; i += 1) await agent.next('StreamOpen')
  t.match(await master.call('GET', '/v1/tasks/a/files'), { status: 429, body: { error: { code: 'exhausted' } } })
  agent.close()
  for (const opening of many) t.equal(JSON.parse(await textOf(await opening)).error.code, 'unavailable')
  t.match(await master.call('GET', '/v1/tasks/a/files'), {
    status: 503,
    body: { error: { message: /node scripted is not connected/ } }
  })
})

t.test('images are the agent’s own routes, found by host name or by the beginning of an id', async (t) => {
  const { master, agent } = await stage(t)
  for (const name of ['scripted', agent.agentId, agent.agentId.slice(0, 6)]) {
    const call = master.call('DELETE', `/v1/nodes/${name}/images/${encodeURIComponent('repo/x:1')}`)
    const { stream, method, path } = await agent.next('StreamOpen')
    t.match({ method, path }, { method: 'DELETE', path: '/v1/images/repo%2Fx%3A1' })
    agent.send('StreamHead', { stream, status: 204, contentType: 'application/json' })
    agent.send('StreamEnd', { stream })
    t.equal((await call).status, 204)
  }
})

t.test('the rest of an upload that is refused early is taken and thrown away, so that the answer can be read', async (t) => {
  const { master, agent } = await stage(t)
  for (const task of ['a', 'nobody']) {
    const socket = connect(master.socket)
    t.teardown(() => socket.destroy())
    const write = (bytes: Buffer | string): Promise<Error | null | undefined> =>
      new Promise((resolve) => socket.write(bytes, resolve))
    const broken = new Promise<never>((_, reject) => socket.once('error', reject))
    broken.catch(() => undefined)
    const size = 16 * 1024 * 1024
    await write(`PUT /v1/tasks/${task}/archive?path=x HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${size}\r\n\r\n`)
    await write(Buffer.alloc(1024))
    if (task === 'a') {
      const { stream } = await agent.next('StreamOpen')
      agent.send('StreamHead', { stream, status: 404, contentType: 'application/json' })
      agent.send('StreamData', { stream, data: Buffer.from('{"error":{"code":"not-found","message":"no such folder"}}') })
      agent.send('StreamEnd', { stream })
    }
    const answer = await Promise.race([once(socket, 'data'), broken])
    t.match(String(answer[0]), /^HTTP\/1.1 404 /)
    t.notMatch(String(answer[0]), /connection: close/i)
    t.notOk(await write(Buffer.alloc(size - 1024)), 'no broken pipe')
    await write('GET /v1/version HTTP/1.1\r\nhost: localhost\r\n\r\n')
    let more = ''
    while (!more.includes('HTTP/1.1 200')) more += String((await Promise.race([once(socket, 'data'), broken]))[0])
    t.pass('the connection goes on')
  }
})

t.test('a session whose program has ended does not wait for the rest of its input', async (t) => {
  const { master, agent } = await stage(t)
  const client = new OperatorClient({ kind: 'socket', path: master.socket })
  const input = pipe()
  input.push(stdin('open'))
  const opening = client.tasks.duplex('a', 'attach', input.read, new AbortController().signal)
  const { stream } = await agent.next('StreamOpen')
  agent.send('StreamHead', { stream, status: 409, contentType: 'application/json' })
  agent.send('StreamData', { stream, data: Buffer.from('{"error":{"code":"conflict","message":"it has ended"}}') })
  agent.send('StreamEnd', { stream })
  await t.rejects(opening, { code: 'conflict', message: 'it has ended' })
  input.push(undefined)
})
