import { type IncomingMessage, request } from 'node:http'
import { type Random, seededRandom } from '../../../base/random.ts'
import type { Operation } from '../../linearizability/history.ts'
import type { NameAction } from './model.ts'

type Done = { readonly status: number; readonly body: unknown } | 'unknown'

const patienceMs = 1_500
const names = ['a', 'b', 'c', 'd', 'e', 'f']

/** Creates, removes and reads tasks by name through whichever masters there are, and writes down what it was told. */
export class Clients {
  readonly operations: Operation<NameAction>[] = []
  /** Tasks that were created once and never removed, by name: what their creator was told. */
  readonly kept = new Map<string, 'created' | 'refused' | 'unknown'>()
  readonly #sockets: () => readonly string[]
  readonly #random: Random
  readonly #running: Promise<void>[] = []
  #isOver = false
  #isBrokenOff = false
  #tick = 0
  #value = 0
  acknowledged = 0
  unknown = 0

  constructor(sockets: () => readonly string[], seed: number) {
    this.#sockets = sockets
    this.#random = seededRandom(seed)
  }

  begin(count: number): void {
    for (let i = 0; i < count; i += 1) this.#running.push(this.#work())
  }

  async end(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#running)
  }

  /** Nothing that is under way goes on. */
  breakOff(): Promise<void> {
    this.#isBrokenOff = true
    return this.end()
  }

  /** One read of each name, that every master's clients would have to see too. */
  async readAll(): Promise<void> {
    for (const name of names) {
      for (let read = false; !read && !this.#isBrokenOff; ) read = await this.#one(name, 'read')
    }
  }

  /** One more change that is acknowledged, whatever its outcome is. */
  async change(): Promise<void> {
    const before = this.acknowledged
    while (this.acknowledged === before && !this.#isBrokenOff)
      await this.#one('a', this.#random.between(0, 1) === 0 ? 'create' : 'remove')
  }

  async #work(): Promise<void> {
    while (!this.#isOver) {
      const name = names[this.#random.between(0, names.length - 1)] ?? 'a'
      const draw = this.#random.between(0, 11)
      if (draw < 2) await this.#keep()
      else await this.#one(name, draw < 7 ? 'read' : draw < 10 ? 'create' : 'remove')
      await new Promise((resolve) => setTimeout(resolve, this.#random.between(2, 30)))
    }
  }

  async #keep(): Promise<void> {
    const socket = this.#socket()
    if (socket === undefined) return
    this.#value += 1
    const name = `kept-${this.#value}`
    const done = await send(socket, 'create', name, this.#value)
    const action = actionOf('create', this.#value, done)
    const outcome = action?.kind === 'create' ? action.outcome : 'refused'
    if (outcome === 'unknown') this.unknown += 1
    else if (outcome === 'created') this.acknowledged += 1
    // A name that nobody else uses can only be taken by this very call.
    this.kept.set(name, outcome === 'taken' ? 'unknown' : outcome)
  }

  #socket(): string | undefined {
    const sockets = this.#sockets()
    return sockets[this.#random.between(0, Math.max(0, sockets.length - 1))]
  }

  /** False where it had no effect and told nothing. */
  async #one(name: string, kind: NameAction['kind']): Promise<boolean> {
    const socket = this.#socket()
    if (socket === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return false
    }
    this.#value += 1
    const value = this.#value
    this.#tick += 1
    const call = this.#tick
    const done = await send(socket, kind, name, value)
    this.#tick += 1
    const action = actionOf(kind, value, done)
    if (action === undefined) return false
    const isUnknown = action.kind !== 'read' && action.outcome === 'unknown'
    if (isUnknown) this.unknown += 1
    else if (kind !== 'read') this.acknowledged += 1
    this.operations.push({ key: name, action, call, return: isUnknown ? Number.POSITIVE_INFINITY : this.#tick })
    return !isUnknown
  }
}

/** Undefined: it told nothing, and changed nothing. */
function actionOf(kind: NameAction['kind'], value: number, done: Done): NameAction | undefined {
  const isUnknown = done === 'unknown' || isUnknownAnswer(done.body)
  if (kind === 'read') {
    if (done === 'unknown') return undefined
    if (done.status === 404) return { kind, saw: 0 }
    if (done.status !== 200) return undefined
    return { kind, saw: Number((done.body as { readonly labels: { readonly v: string } }).labels.v) }
  }
  if (kind === 'create') {
    if (isUnknown) return { kind, value, outcome: 'unknown' }
    if (done.status === 201) return { kind, value, outcome: 'created' }
    return done.status === 409 ? { kind, value, outcome: 'taken' } : undefined
  }
  if (isUnknown) return { kind, outcome: 'unknown' }
  if (done.status === 0) return undefined
  if (done.status === 204) return { kind, outcome: 'gone' }
  return done.status === 404 ? { kind, outcome: 'missing' } : { kind, outcome: 'unknown' }
}

const isUnknownAnswer = (body: unknown): boolean =>
  (body as { readonly error?: { readonly detail?: { readonly isUnknown?: boolean } } } | undefined)?.error?.detail?.isUnknown ===
  true

function send(socketPath: string, kind: NameAction['kind'], name: string, value: number): Promise<Done> {
  const asked =
    kind === 'create'
      ? {
          method: 'POST',
          path: '/v1/tasks',
          body: { name, image: 'host', arguments: ['true'], environment: [], labels: { v: String(value) } }
        }
      : {
          method: kind === 'read' ? 'GET' : 'DELETE',
          path: `/v1/tasks/${name}${kind === 'read' ? '' : '?force=true'}`,
          body: undefined
        }
  return new Promise((resolve) => {
    const bytes = asked.body === undefined ? undefined : Buffer.from(JSON.stringify(asked.body))
    const headers = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }
    const outgoing = request({ socketPath, method: asked.method, path: asked.path, headers, agent: false, timeout: patienceMs })
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', (e) => resolve(wasThere(e) ? 'unknown' : nobody))
    outgoing.on(
      'response',
      (response) =>
        void textOf(response).then(
          (text) => resolve(parsed(response, text)),
          () => resolve('unknown')
        )
    )
    outgoing.end(bytes)
  })
}

const nobody: Done = { status: 0, body: undefined }
const wasThere = (e: Error): boolean => !('code' in e && (e.code === 'ECONNREFUSED' || e.code === 'ENOENT'))

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

const parsed = ({ statusCode = 0 }: IncomingMessage, text: string): Done => ({
  status: statusCode,
  body: text === '' ? undefined : JSON.parse(text)
})
