import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault, isFault, isFaultCode } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { encodeWire } from '../../proto/wire.ts'
import type { RaftFacts } from '../consensus/raft-facts.ts'
import type { Visitor } from '../identity/guard.ts'
import type { PeerCaller } from '../peers/peer-caller.ts'
import type { PeerAddress } from '../peers/peer-link.ts'
import { type Caller, callerHeader, callerOf, callerText, checkCaller } from './caller.ts'
import { answerJson } from './doors.ts'
import { errorAnswer } from './errors.ts'
import { relayedHeader } from './relayed-header.ts'

interface RelayParts {
  readonly facts: () => Promise<RaftFacts>
  /** Undefined for a master that is alone. */
  readonly caller: Pick<PeerCaller, 'tunnel' | 'peerAt'> | undefined
  /** What every master answers for itself, by path. */
  readonly own: (path: string) => (() => Promise<unknown>) | undefined
  readonly clock: Clock
  readonly log: Log
}

/** Longer than an election takes. */
const leaderPatienceMs = 5_000
const pollMs = 25

/** What a master does that does not lead: it answers for itself, and passes all else on to the leader. */
export class RelayToLeader {
  readonly #parts: RelayParts

  constructor(parts: RelayParts) {
    this.#parts = parts
  }

  http(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').split('?')[0] ?? ''
    const own = request.method === 'GET' ? this.#parts.own(path) : undefined
    const answered = own === undefined ? this.#pass(request, response) : this.#answerSelf(request, path, own, response)
    answered.catch((e: unknown) => fail(response, e))
  }

  /** What this master itself wants of the one that leads. Rejects with the Fault that it answers with. */
  async post(path: string, body: object, caller: Caller | undefined, signal: AbortSignal): Promise<unknown> {
    const tunnel = await this.#tunnel('api', signal)
    const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const headers = { host: 'localhost', 'content-type': 'application/json', [relayedHeader]: '1', connection: 'close' }
      const as = caller === undefined ? {} : { [callerHeader]: callerText(caller) }
      const createConnection = (): Socket => tunnel
      const outgoing = httpRequest({ method: 'POST', path, headers: { ...headers, ...as }, createConnection, signal })
      outgoing.once('error', (cause) => {
        tunnel.destroy()
        reject(brokenOff(cause))
      })
      outgoing.once('response', (incoming) => {
        const of = (read: string): void => resolve({ status: incoming.statusCode ?? 502, text: read })
        readText(incoming).then(of, reject)
      })
      outgoing.end(JSON.stringify(body))
    })
    if (status < 400) return JSON.parse(text)
    throw faultIn(text)
  }

  async #answerSelf(
    request: IncomingMessage,
    path: string,
    own: () => Promise<unknown>,
    response: ServerResponse
  ): Promise<void> {
    checkCaller(callerOf(request.headers), 'GET', path)
    answerOwn(response, await own())
  }

  /** One with a certificate is known at this door alone: it goes to the leader by itself. */
  agent(socket: Socket, visitor?: Visitor): void {
    if (visitor !== undefined) {
      socket.end(encodeWire('Refusal', { code: 'not-leader', message: 'this master does not lead: ask the next one' }))
      return
    }
    const over = new AbortController()
    socket.once('close', () => over.abort(new Fault('unavailable', 'the agent has gone')))
    socket.on('error', () => undefined) // 'close' comes too and is enough.
    this.#tunnel('agents', over.signal).then(
      (leader) => pipeline(socket, leader, socket, () => socket.destroy()),
      (e: unknown) => {
        if (socket.destroyed) return
        const why = e instanceof Error ? e.message : String(e)
        socket.write(encodeWire('Refusal', { code: 'not-leader', message: why }))
        socket.destroySoon()
      }
    )
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers[relayedHeader] !== undefined)
      throw new Fault('not-leader', 'this master does not lead: ask again in a moment')
    const over = new AbortController()
    response.once('close', () => over.abort(new Fault('unavailable', 'the client has gone')))
    const tunnel = await this.#tunnel('api', over.signal)
    await new Promise<void>((resolve, reject) => {
      const { method, url: path, headers } = request
      // The tunnel ends at a unix socket, whose door asks for no token.
      const { authorization: _, ...passed } = headers
      const outgoing = httpRequest({
        method,
        path,
        headers: { ...passed, host: 'localhost', [relayedHeader]: '1', connection: 'close' },
        createConnection: () => tunnel
      })
      outgoing.once('error', (cause) => {
        tunnel.destroy()
        reject(brokenOff(cause))
      })
      outgoing.once('response', (incoming) => {
        response.writeHead(incoming.statusCode ?? 502, incoming.headers)
        response.flushHeaders()
        pipeline(incoming, response, () => resolve())
      })
      request.pipe(outgoing)
    })
  }

  async #tunnel(purpose: 'api' | 'agents', signal: AbortSignal): Promise<Socket> {
    const { caller, clock } = this.#parts
    const until = clock.monotonicMs() + leaderPatienceMs
    for (;;) {
      const leader = await this.#leader()
      if (leader !== undefined && caller !== undefined) {
        try {
          return await caller.tunnel(leader, purpose, signal)
        } catch (e) {
          // It may have ended a moment ago, and another may be about to lead.
          if (!isFault(e) && errnoOf(e) === undefined) throw e
        }
      }
      signal.throwIfAborted()
      if (clock.monotonicMs() >= until) throw noLeader()
      await clock.sleep(pollMs, signal)
    }
  }

  async #leader(): Promise<PeerAddress | undefined> {
    const { leader, raftId, members } = await this.#parts.facts()
    const member = leader === raftId ? undefined : members.find((one) => one.raftId === leader)
    return member === undefined ? undefined : this.#parts.caller?.peerAt(member)
  }
}

async function readText(incoming: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function faultIn(text: string): Fault {
  const { error } = JSON.parse(text) as { readonly error?: { readonly code: string; readonly message: string } }
  return new Fault(isFaultCode(error?.code ?? '') ? (error?.code as Fault['code']) : 'unavailable', error?.message ?? text)
}

/** Text as it is, everything else as JSON. */
function answerOwn(response: ServerResponse, body: unknown): void {
  if (typeof body === 'string') response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body)
  else answerJson(response, 200, body)
}

const noLeader = (): Fault =>
  new Fault('unavailable', 'no master leads: a majority of them must run and reach each other; see hearth raft status')

const brokenOff = (cause: Error): Fault => {
  const next = 'the request may have taken effect or not: look before you repeat it'
  return new Fault('unavailable', `the master that leads broke off before it answered; ${next}`, { isUnknown: true }, cause)
}

function fail(response: ServerResponse, e: unknown): void {
  const answer = e instanceof Error ? errorAnswer(e) : undefined
  if (response.headersSent || response.destroyed) response.destroy()
  else if (answer === undefined) answerJson(response, 503, { error: { code: 'unavailable', message: String(e), detail: {} } })
  else answerJson(response, answer.status, answer.body)
}
