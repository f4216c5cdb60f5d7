import type { IncomingMessage } from 'node:http'
import { request } from 'node:http'
import fastify from 'fastify'
import t from 'tap'
import { errorAnswer } from '../../../master/api/errors.ts'
import { eventRoutes } from '../../../master/api/events.ts'
import { Events } from '../../../master/events.ts'

interface Event {
  readonly id: string | undefined
  readonly kind: string
  readonly data: unknown
}

interface TestEvents {
  readonly events: Events
  follow(lastEventId?: string, query?: string): Promise<Reader>
}

class Reader {
  readonly response: IncomingMessage
  readonly #events: AsyncGenerator<Event>

  constructor(response: IncomingMessage) {
    this.response = response
    this.#events = parse(response)
  }

  async take(count: number): Promise<readonly Event[]> {
    const taken: Event[] = []
    while (taken.length < count) {
      const next = await this.#events.next()
      if (next.done) break
      taken.push(next.value)
    }
    return taken
  }
}

async function* parse(body: AsyncIterable<Uint8Array>): AsyncGenerator<Event> {
  let text = ''
  for await (const chunk of body) {
    text += Buffer.from(chunk).toString()
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n')
      text = text.slice(end + 2)
      const field = (name: string): string | undefined => lines.find((l) => l.startsWith(`${name}: `))?.slice(name.length + 2)
      const kind = field('event')
      if (kind !== undefined) yield { id: field('id'), kind, data: JSON.parse(field('data') ?? 'null') }
    }
  }
}

async function start(
  t: { teardown(work: () => unknown): void },
  window: number,
  maxBehind = 1_000,
  epoch = 3
): Promise<TestEvents> {
  const events = new Events(epoch, { window })
  const app = fastify()
  const snapshot = (wanted: (s: { kind: 'task' | 'node' }) => boolean) => ({
    tasks: wanted({ kind: 'task' }) ? ['all'] : [],
    at: events.last
  })
  eventRoutes(app, { events, snapshot }, { maxBehind, heartbeatMs: 1_000, maxReaders: 2 })
  app.setErrorHandler((e: Error, _request, reply) => {
    const answer = errorAnswer(e)
    return reply.code(answer?.status ?? 500).send(answer?.body ?? {})
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  const port = typeof address === 'object' ? address?.port : 0
  t.teardown(() => {
    app.server.closeAllConnections()
    return app.close()
  })
  const follow = (lastEventId = '', query = ''): Promise<Reader> =>
    new Promise((resolve, reject) => {
      const headers = lastEventId === '' ? {} : { 'last-event-id': lastEventId }
      const call = request({ host: '127.0.0.1', port, path: `/v1/events${query}`, headers, agent: false }, (r) => {
        r.on('error', () => undefined) // Some tests are about being cut off.
        resolve(new Reader(r))
      })
      call.on('error', reject)
      call.end()
    })
  return { events, follow }
}

const addTask = (events: Events, taskId: string, frameworkId = 'f', role = '*'): void =>
  events.append({ kind: 'task', frameworkId, taskId, role }, { taskId })

t.test('a new reader gets a snapshot, then what happens after it', async (t) => {
  const { events, follow } = await start(t, 10)
  addTask(events, 'before')
  const reader = await follow()
  t.same(await reader.take(1), [{ id: '3-1', kind: 'snapshot', data: { tasks: ['all'], at: 1 } }])
  addTask(events, 'after')
  t.same(await reader.take(1), [{ id: '3-2', kind: 'task', data: { taskId: 'after' } }])
  t.equal(reader.response.headers['content-type'], 'text/event-stream; charset=utf-8')
})

t.test('who comes back within the window gets every later event exactly once', async (t) => {
  const { events, follow } = await start(t, 10)
  for (let i = 1; i <= 25; i += 1) addTask(events, `t${i}`)
  for (const seen of [15, 20, 24]) {
    const reader = await follow(`3-${seen}`)
    const got = await reader.take(25 - seen)
    t.same(
      got.map((e) => e.id),
      Array.from({ length: 25 - seen }, (_, i) => `3-${seen + 1 + i}`),
      `after ${seen}`
    )
    reader.response.destroy()
  }
  const upToDate = await follow('3-25')
  addTask(events, 'next')
  t.same(
    (await upToDate.take(1)).map((e) => e.id),
    ['3-26']
  )
})

t.test('who comes back too late, or from elsewhere, gets a reset and a snapshot, never a gap', async (t) => {
  const { events, follow } = await start(t, 10)
  for (let i = 1; i <= 25; i += 1) addTask(events, `t${i}`)
  for (const lastEventId of ['3-14', '2-25', '4-25', '3-26', 'nonsense', '3-', '-1']) {
    const reader = await follow(lastEventId)
    const got = await reader.take(2)
    t.same(
      got.map((e) => [e.kind, e.id]),
      [
        ['reset', undefined],
        ['snapshot', '3-25']
      ],
      lastEventId
    )
    reader.response.destroy()
  }
})

t.test('filters choose kinds, framework, task and role, and shape the snapshot too', async (t) => {
  const { events, follow } = await start(t, 100)
  addTask(events, 'a', 'f', 'x')
  events.append({ kind: 'node' }, { node: 1 })
  addTask(events, 'b', 'g', 'y')
  addTask(events, 'end', 'f', 'x')
  const table: readonly [string, readonly string[]][] = [
    ['?kinds=node', ['3-2']],
    ['?kinds=task', ['3-1', '3-3', '3-4']],
    ['?kinds=task,node', ['3-1', '3-2', '3-3', '3-4']],
    ['?framework=g', ['3-3']],
    ['?task=a', ['3-1']],
    ['?role=x', ['3-1', '3-4']],
    ['?role=x&task=end', ['3-4']]
  ]
  for (const [query, ids] of table) {
    const reader = await follow('3-0', query)
    t.same(
      (await reader.take(ids.length)).map((e) => e.id),
      ids,
      query
    )
    reader.response.destroy()
  }
  const nodes = await follow('', '?kinds=node')
  t.match(await nodes.take(1), [{ kind: 'snapshot', data: { tasks: [] } }])
  nodes.response.destroy()
  t.equal((await follow('', '?kinds=offers')).response.statusCode, 400)
  t.equal((await follow('', '?role=a%20b')).response.statusCode, 400)
})

t.test('a reader that does not read is cut off with a reset, the others go on', async (t) => {
  const { events, follow } = await start(t, 10_000, 50)
  const slow = await follow()
  const quick = await follow()
  await quick.take(1)
  const closed = new Promise((resolve) => slow.response.socket.once('close', resolve))
  slow.response.pause()
  const text = 'x'.repeat(20_000)
  for (let i = 1; i <= 400; i += 1) {
    events.append({ kind: 'node' }, { text })
    if (i % 20 === 0) await quick.take(20)
  }
  const rest: Event[] = []
  for (;;) {
    const [event] = await slow.take(1)
    if (event === undefined) break
    rest.push(event)
  }
  await closed
  t.equal(rest.at(-1)?.kind, 'reset')
  const ids = rest.slice(1, -1).map((e) => Number(e.id?.slice(2)))
  t.same(
    ids,
    ids.map((_, i) => i + 1),
    'what it got before is without a gap'
  )
  t.ok(ids.length < 400)
})

t.test('readers beyond the limit are refused, and a place is free again when one leaves', async (t) => {
  const { follow } = await start(t, 10)
  const one = await follow()
  const two = await follow()
  t.equal((await follow()).response.statusCode, 429)
  const left = new Promise((resolve) => one.response.once('close', resolve))
  one.response.destroy()
  await left
  await two.take(1)
  t.equal(two.response.statusCode, 200)
})

t.test('the window is kept in any case, however many events there are', async (t) => {
  const events = new Events(1, { window: 10 })
  for (let i = 1; i <= 1_000; i += 1) {
    addTask(events, `t${i}`)
    const from = events.resumableFrom
    t.equal(from, Math.max(0, i - 10))
    t.equal(events.after(from)?.number, from + 1)
    t.equal(events.after(i), undefined)
  }
})
