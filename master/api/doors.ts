import { chmod, chown, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile } from '../../base/replace-file.ts'
import type { Service } from '../../base/service.ts'
import type { OperatorRow } from '../../proto/gen/messages.ts'
import type { Visitor } from '../identity/guard.ts'
import { removeSocket } from './agent-doors.ts'
import { type Caller, callerFromAfar, callerHeader, callerText, localAdmin } from './caller.ts'
import { admitLoopback, digest } from './door.ts'
import { errorAnswer } from './errors.ts'
import { relayedHeader } from './relayed-header.ts'

export type Answering = (request: IncomingMessage, response: ServerResponse) => void

interface DoorsParts {
  readonly log: Log
  /** Whoever answers now; asked at each request. */
  readonly answering: () => Answering
  readonly operators: () => ReadonlyMap<string, OperatorRow>
  readonly clock: Pick<Clock, 'wallMs'>
}

export interface DoorsConfig {
  readonly socketPath: string
  /** Of the group `hearth`, where the host has it. */
  readonly socketGroup: number | undefined
  readonly loopback: { readonly host: string; readonly port: number } | undefined
  /** Where the address that the loopback listener got is written. */
  readonly addressPath: string
  readonly token: string
}

/** Node gives a request's body 300 s; that of an exec or an attach lasts as long as its program. */
const serverOptions = { requestTimeout: 0 }

/** Where people come in, whoever leads: a unix socket, whose mode admits, and loopback, where every request is checked. */
export class Doors implements Service {
  readonly name = 'doors'
  readonly #parts: DoorsParts
  readonly #config: DoorsConfig
  readonly #servers: Server[] = []
  readonly #tokenDigest: Buffer
  /** Connections from other hosts, whose handshake another did. */
  readonly #visitors = new WeakMap<Socket, Visitor>()
  #remote: Server | undefined

  constructor(parts: DoorsParts, config: DoorsConfig) {
    this.#parts = parts
    this.#config = config
    this.#tokenDigest = digest(config.token)
  }

  async start(): Promise<void> {
    const { socketPath, socketGroup, loopback, addressPath } = this.#config
    const { answering } = this.#parts
    const own = createServer(serverOptions, (request, response) => {
      // What another master passes on says by itself who asks.
      if (request.headers[relayedHeader] === undefined) delete request.headers[callerHeader]
      answering()(request, response)
    })
    const remote = createServer(serverOptions, (request, response) => {
      if (this.#admitted(request, response, () => this.#callerFromAfar(request))) answering()(request, response)
    })
    this.#remote = remote
    this.#servers.push(remote)
    await removeSocket(socketPath)
    await this.#listen(own, { path: socketPath })
    if (socketGroup !== undefined) await chown(socketPath, 0, socketGroup)
    await chmod(socketPath, 0o660)
    if (loopback === undefined) {
      await rm(addressPath, { force: true })
      return
    }
    const guarded = createServer(serverOptions, (request, response) => {
      if (this.#admitted(request, response, () => this.#callerOverLoopback(request))) answering()(request, response)
    })
    await this.#listen(guarded, loopback)
    const address = guarded.address()
    const port = typeof address === 'object' && address !== null ? address.port : loopback.port
    await replaceFile(
      addressPath,
      `http://${loopback.host.includes(':') ? `[${loopback.host}]` : loopback.host}:${port}\n`,
      0o644
    )
  }

  /** Ends every connection: streams and waits last as long as their tasks, and their clients come back. */
  cut(): void {
    for (const server of this.#servers) server.closeAllConnections()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const server of this.#servers) server.closeIdleConnections()
    const cut = (): void => this.cut()
    deadline.addEventListener('abort', cut, { once: true })
    setImmediate(cut)
    await Promise.all(closed)
    deadline.removeEventListener('abort', cut)
  }

  /** A connection from another host. It is a `net.Socket` to the server (`http.Server`, event 'connection'), whatever it is below. */
  accept(socket: Socket, visitor: Visitor): void {
    this.#visitors.set(socket, visitor)
    if (this.#remote === undefined) socket.destroy()
    else this.#remote.emit('connection', socket)
  }

  #callerFromAfar(request: IncomingMessage): Caller {
    const visitor = this.#visitors.get(request.socket) ?? { from: '' }
    delete request.headers[relayedHeader]
    return callerFromAfar(visitor, request, this.#parts.operators(), this.#parts.clock.wallMs())
  }

  #callerOverLoopback(request: IncomingMessage): Caller {
    admitLoopback(request.headers, this.#tokenDigest)
    delete request.headers[relayedHeader]
    return localAdmin('loopback')
  }

  /** A stranger's body is not even thrown away: the connection ends after the answer. */
  #admitted(request: IncomingMessage, response: ServerResponse, caller: () => Caller): boolean {
    try {
      request.headers[callerHeader] = callerText(caller())
      return true
    } catch (e) {
      const answer = isFault(e) ? errorAnswer(e) : undefined
      if (answer === undefined) throw e
      answerJson(response, answer.status, answer.body, { connection: 'close' })
      return false
    }
  }

  #listen(server: Server, where: { readonly path: string } | { readonly host: string; readonly port: number }): Promise<void> {
    this.#servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(where, () => {
        server.off('error', reject)
        server.on('error', (e) => this.#parts.log.error({ err: e.message }, 'http.listener_failed'))
        resolve()
      })
    })
  }
}

export function answerJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {}
): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers }).end(JSON.stringify(body))
}
