import { Readable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import { seededRandom } from '../../base/random.ts'
import { clusterEvents, followEvents, readEvents, type ServerEvent } from '../../sdk/events.ts'
import { serveOnSocket } from './http-fixture.ts'

async function collect(events: AsyncIterable<ServerEvent>): Promise<ServerEvent[]> {
  const all: ServerEvent[] = []
  for await (const event of events) all.push(event)
  return all
}

const impatient: Clock = { monotonicMs: () => 0, wallMs: () => 0, sleep: async () => undefined }

t.test('events are read whatever way their bytes are cut', async (t) => {
  const text =
    ': hello\n\nid: 4-1\nevent: task\ndata: {"a":"ü€"}\n\nid: 4-2\r\nevent: node\r\ndata: 1\r\n\r\nevent: reset\ndata: null\n\n'
  const bytes = Buffer.from(text)
  const want = [
    { id: '4-1', event: 'task', data: { a: 'ü€' } },
    { id: '4-2', event: 'node', data: 1 },
    { id: '', event: 'reset', data: null }
  ]
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: bytes.length })), async (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length]
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end))
      t.strictSame(await collect(readEvents(Readable.from(chunks.filter((c) => c.length > 0)))), want)
    }),
    { numRuns: 50 }
  )
})

t.test('a broken connection is resumed after the last event, over HTTP', async (t) => {
  const asked: unknown[] = []
  const endpoint = await serveOnSocket(t, (request, response) => {
    asked.push([request.url, request.headers['last-event-id']])
    const from = asked.length === 1 ? 1 : 3
    response.write(`id: 7-${from}\nevent: task\ndata: {}\n\nid: 7-${from + 1}\nevent: task\ndata: {}\n\n`, () =>
      response.destroy()
    )
  })
  const stop = new AbortController()
  const seen: string[] = []
  for await (const event of clusterEvents(endpoint, { kinds: 'task' }, '', stop.signal)) {
    seen.push(event.id)
    if (seen.length === 4) break
  }
  t.strictSame(seen, ['7-1', '7-2', '7-3', '7-4'])
  t.strictSame(asked, [
    ['/v1/events?kinds=task', undefined],
    ['/v1/events?kinds=task', '7-2']
  ])
})

t.test('a master that stays away ends the stream with its Fault after the budget', async (t) => {
  let opened = 0
  const open = async (): Promise<never> => {
    opened += 1
    throw new Fault('unavailable', 'nobody there')
  }
  const events = followEvents({ clock: impatient, random: seededRandom(1), open }, '', 3, new AbortController().signal)
  await t.rejects(collect(events), { code: 'unavailable' })
  t.equal(opened, 4)
})

t.test('a master that always closes at once does not keep us for ever', async (t) => {
  const open = async (): Promise<Readable> => Readable.from([])
  const events = followEvents({ clock: impatient, random: seededRandom(1), open }, '', 3, new AbortController().signal)
  await t.rejects(collect(events), { code: 'unavailable', message: /closes/ })
})

t.test('a refusal that no retry helps is told at once', async (t) => {
  let opened = 0
  const open = async (): Promise<never> => {
    opened += 1
    throw new Fault('denied', 'no')
  }
  const events = followEvents({ clock: impatient, random: seededRandom(1), open }, '', 3, new AbortController().signal)
  await t.rejects(collect(events), { code: 'denied' })
  t.equal(opened, 1)
})
