import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Fault } from '../../base/fault.ts'
import { role as parseRole } from '../../proto/ids.ts'
import type { ClusterEvent, EventKind, EventSubject, Events } from '../events.ts'

interface EventsParts {
  readonly events: Events
  /** Everything that the filters let through, as it is now. */
  readonly snapshot: (wanted: (subject: EventSubject) => boolean) => unknown
}

export interface EventRouteConfig {
  /** A reader that is further behind than this is cut off. */
  readonly maxBehind: number
  readonly heartbeatMs: number
  readonly maxReaders: number
}

type Wanted = (subject: EventSubject) => boolean

interface EventQuery {
  readonly kinds?: string
  readonly framework?: string
  readonly task?: string
  readonly role?: string
}

const anyText = { type: 'string', maxLength: 1024 }
const querystring = {
  type: 'object',
  additionalProperties: false,
  properties: { kinds: anyText, framework: anyText, task: anyText, role: anyText }
}

/** `GET /v1/events`: server-sent events, resumable. */
export function eventRoutes(app: FastifyInstance, parts: EventsParts, config: EventRouteConfig): void {
  let readers = 0
  const schema = { summary: 'Server-sent events: task, node, reset, snapshot', querystring }
  app.get('/v1/events', { schema }, async (request: FastifyRequest, reply) => {
    const wanted = filterOf(request.query as EventQuery)
    if (readers >= config.maxReaders) {
      throw new Fault('exhausted', `${config.maxReaders} readers follow the events already; try again later`)
    }
    readers += 1
    reply.hijack()
    reply.raw.once('close', () => {
      readers -= 1
    })
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
    reply.raw.flushHeaders()
    new EventReader(reply.raw, parts, wanted, config).begin(String(request.headers['last-event-id'] ?? ''))
  })
}

function filterOf(query: EventQuery): Wanted {
  const kinds = query.kinds === undefined || query.kinds === '' ? ['task', 'node'] : query.kinds.split(',')
  const unknown = kinds.find((k) => k !== 'task' && k !== 'node')
  if (unknown !== undefined) throw new Fault('invalid', `kinds can be task and node, not ${unknown.slice(0, 50)}`)
  const chosen = new Set<EventKind>(kinds as EventKind[])
  const { framework, task } = query
  const role = query.role === undefined ? undefined : parseRole(query.role)
  const aboutTasks = framework !== undefined || task !== undefined || role !== undefined
  return (subject) =>
    chosen.has(subject.kind) &&
    (!aboutTasks || subject.kind === 'task') &&
    (framework === undefined || subject.frameworkId === framework) &&
    (task === undefined || subject.taskId === task) &&
    (role === undefined || subject.role === role)
}

/** One connection: a cursor into the kept events, moved as fast as the reader reads. */
class EventReader {
  readonly #to: ServerResponse
  readonly #parts: EventsParts
  readonly #wanted: Wanted
  readonly #config: EventRouteConfig
  #seen = 0
  /** What there was when it came: catching up with that is not lagging. */
  #start = 0
  #stalled = false
  #over = false

  constructor(to: ServerResponse, parts: EventsParts, wanted: Wanted, config: EventRouteConfig) {
    this.#to = to
    this.#parts = parts
    this.#wanted = wanted
    this.#config = config
  }

  begin(lastEventId: string): void {
    const { events } = this.#parts
    const unwatch = events.watch(() => this.#pump())
    const beat = setInterval(() => {
      if (!this.#stalled) this.#write(': still here\n\n')
    }, this.#config.heartbeatMs)
    this.#to.on('drain', () => {
      this.#stalled = false
      this.#pump()
    })
    this.#to.once('close', () => {
      this.#over = true
      unwatch()
      clearInterval(beat)
    })
    this.#start = events.last
    const resumed = resumePoint(lastEventId, events)
    if (resumed === undefined) {
      if (lastEventId !== '') this.#write('event: reset\ndata: {}\n\n')
      this.#seen = events.last
      const data = JSON.stringify(this.#parts.snapshot(this.#wanted))
      this.#write(`id: ${events.epoch}-${this.#seen}\nevent: snapshot\ndata: ${data}\n\n`)
    } else this.#seen = resumed
    this.#pump()
  }

  #pump(): void {
    const { events } = this.#parts
    if (this.#over) return
    const behind = events.last - Math.max(this.#seen, this.#start)
    if (this.#seen < events.resumableFrom || (this.#stalled && behind > this.#config.maxBehind)) {
      this.#over = true
      this.#to.end('event: reset\ndata: {}\n\n')
      // A reader that does not even take this is not waited for.
      setTimeout(() => this.#to.destroy(), this.#config.heartbeatMs).unref()
      return
    }
    while (!this.#stalled) {
      const event = events.after(this.#seen)
      if (event === undefined) return
      this.#seen = event.number
      if (this.#wanted(event)) this.#write(lines(event, events.epoch))
    }
  }

  #write(text: string): void {
    if (!this.#over && !this.#to.write(text)) this.#stalled = true
  }
}

const lines = (event: ClusterEvent, epoch: number): string =>
  `id: ${epoch}-${event.number}\nevent: ${event.kind}\ndata: ${event.data}\n\n`

/** The number after which to go on; undefined where only a snapshot helps. */
function resumePoint(lastEventId: string, events: Events): number | undefined {
  const [, epoch, number] = /^(\d{1,15})-(\d{1,15})$/.exec(lastEventId) ?? []
  if (epoch === undefined || Number(epoch) !== events.epoch) return undefined
  const seen = Number(number)
  return seen >= events.resumableFrom && seen <= events.last ? seen : undefined
}
