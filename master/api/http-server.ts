import { chmod, chown, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import swagger from '@fastify/swagger'
import fastify, { type FastifyInstance } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile } from '../../base/replace-file.ts'
import type { Service } from '../../base/service.ts'
import { anyRole } from '../../proto/ids.ts'
import type { AuditLog } from '../audit.ts'
import type { RaftFacts } from '../consensus/raft-facts.ts'
import type { EventSubject, Events } from '../events.ts'
import type { CertificateDesk } from '../identity/certificate-desk.ts'
import type { Visitor } from '../identity/guard.ts'
import type { Tenants } from '../tenants.ts'
import { removeSocket } from './agent-link.ts'
import { type Caller, callerFromAfar, checkCaller, checkTenant, localAdmin } from './caller.ts'
import { clusterRoutes } from './cluster.ts'
import { admitLoopback, digest } from './door.ts'
import { errorAnswer, maxBodyBytes, parseJsonBody } from './errors.ts'
import { type EventRouteConfig, eventRoutes } from './events.ts'
import { fsckRoutes } from './fsck.ts'
import { authorityRoutes, identityRoutes, visitorRoutes } from './identity.ts'
import { imageRoutes } from './images.ts'
import { nodeRelayRoutes, nodeRoutes } from './nodes.ts'
import { openapiOptions } from './openapi.ts'
import { type OperatorDesk, operatorRoutes } from './operators.ts'
import type { ClusterFacts, NodeDirectory, NodeRemover, TaskService, Whereabouts } from './ports.ts'
import { taskRoutes, taskStreamRoutes } from './tasks.ts'
import { type TenantDirectory, tenantRoutes } from './tenants.ts'

export interface HttpServerParts {
  readonly tasks: TaskService
  readonly nodes: NodeDirectory
  readonly whereabouts: Whereabouts
  readonly tenants: TenantDirectory & Pick<Tenants, 'refusal'>
  readonly events: Events
  readonly snapshot: (wanted: (subject: EventSubject) => boolean) => unknown
  readonly facts: () => ClusterFacts
  readonly raft: () => RaftFacts
  readonly desk: CertificateDesk
  readonly remover: NodeRemover
  readonly operators: OperatorDesk
  readonly audit: AuditLog
  readonly clock: Pick<Clock, 'wallMs'>
  readonly log: Log
  /** Hears of what is no request's fault: the process must not go on. */
  readonly onBroken: (e: unknown) => void
}

export interface HttpServerConfig {
  readonly version: string
  readonly socketPath: string
  /** Of the group `hearth`, where the host has it. */
  readonly socketGroup: number | undefined
  readonly loopback: { readonly host: string; readonly port: number } | undefined
  /** Where the address that the loopback listener got is written. */
  readonly addressPath: string
  readonly token: string
  readonly events: EventRouteConfig
}

/** Node gives a request's body 300 s; that of an exec or an attach lasts as long as its program. */
const serverOptions = { requestTimeout: 0 }

/** The operator API on its two doors: a unix socket, whose mode admits, and loopback, where every request is checked. */
export class HttpServer implements Service {
  readonly name = 'http-server'
  readonly #parts: HttpServerParts
  readonly #config: HttpServerConfig
  readonly #servers: Server[] = []
  readonly #overLoopback = new WeakSet<IncomingMessage>()
  /** Connections from other hosts, whose handshake another did. */
  readonly #visitors = new WeakMap<Socket, Visitor>()
  readonly #callers = new WeakMap<IncomingMessage, Caller>()
  #remote: Server | undefined
  readonly #tokenDigest: Buffer

  constructor(parts: HttpServerParts, config: HttpServerConfig) {
    this.#parts = parts
    this.#config = config
    this.#tokenDigest = digest(config.token)
  }

  async start(): Promise<void> {
    const { socketPath, socketGroup, loopback, addressPath } = this.#config
    const app = await this.#app()
    const own = createServer(serverOptions, (request, response) => app.routing(request, response))
    this.#remote = createServer(serverOptions, (request, response) => app.routing(request, response))
    this.#servers.push(this.#remote)
    await removeSocket(socketPath)
    await this.#listen(own, { path: socketPath })
    if (socketGroup !== undefined) await chown(socketPath, 0, socketGroup)
    await chmod(socketPath, 0o660)
    if (loopback === undefined) {
      await rm(addressPath, { force: true })
      return
    }
    const guarded = createServer(serverOptions, (request, response) => {
      this.#overLoopback.add(request)
      app.routing(request, response)
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

  /** A connection from another host. It is a `net.Socket` to the server (`http.Server`, event 'connection'), whatever it is below. */
  accept(socket: Socket, visitor: Visitor): void {
    this.#visitors.set(socket, visitor)
    if (this.#remote === undefined) socket.destroy()
    else this.#remote.emit('connection', socket)
  }

  async stop(deadline: AbortSignal): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const server of this.#servers) server.closeIdleConnections()
    // Streams and waits last as long as their tasks: a stopping master ends them, their clients come back.
    const cut = (): void => {
      for (const server of this.#servers) server.closeAllConnections()
    }
    deadline.addEventListener('abort', cut, { once: true })
    setImmediate(cut)
    await Promise.all(closed)
    deadline.removeEventListener('abort', cut)
  }

  async #app(): Promise<FastifyInstance> {
    const app = fastify({
      bodyLimit: maxBodyBytes,
      exposeHeadRoutes: false,
      // What fails before there is a route, such as a path that cannot be decoded.
      frameworkErrors: (e, request, { raw }) =>
        this.#failed(e, request.raw, raw, (status, body) =>
          raw.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body))
        ),
      routerOptions: { maxParamLength: 3 * 255, ignoreTrailingSlash: true },
      ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false } }
    })
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
      try {
        done(null, parseJsonBody(body as Buffer))
      } catch (e) {
        done(e as Error)
      }
    })
    this.#guard(app)
    app.setErrorHandler((e: Error, request, reply) => this.#failed(e, request.raw, reply.raw, (s, b) => reply.code(s).send(b)))
    app.setNotFoundHandler((request) => {
      throw new Fault('not-found', `the master has no route ${request.method} ${request.url.slice(0, 200)}`)
    })
    const { version } = this.#config
    await app.register(swagger, openapiOptions(version))
    await app.register(async (scope) => this.#jsonRoutes(scope))
    await app.register(async (scope) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', (_request, body, done) => done(null, body))
      taskStreamRoutes(scope, this.#parts)
      imageRoutes(scope, this.#parts.nodes)
      nodeRelayRoutes(scope, this.#parts.nodes)
      fsckRoutes(scope, this.#parts.nodes)
    })
    await app.ready()
    return app
  }

  /** Who asks is known before anything is read; what is changed, and by whom, is written down when the answer is out. */
  #guard(app: FastifyInstance): void {
    const { audit, clock, tasks } = this.#parts
    app.addHook('onRequest', async (request) => {
      const caller = this.#callerOf(request.raw)
      this.#callers.set(request.raw, caller)
      checkCaller(caller, request.method, request.routeOptions.url ?? '')
    })
    app.addHook('preHandler', async (request) => {
      const caller = this.#callers.get(request.raw)
      const route = request.routeOptions.url ?? ''
      if (caller === undefined || caller.tenant === '' || !route.startsWith('/v1/tasks')) return
      const { id } = request.params as { readonly id?: string }
      if (id !== undefined) checkTenant(caller, tasks.get(id)?.role ?? 'no role any more')
      else if (request.method === 'POST') checkTenant(caller, (request.body as { readonly role?: string }).role ?? anyRole)
    })
    app.addHook('onResponse', async (request, reply) => {
      if (request.method === 'GET') return
      const { who: known = 'a stranger', from = request.raw.socket.remoteAddress ?? '' } = this.#callers.get(request.raw) ?? {}
      const { tokenId } = (request.routeOptions.url === '/v1/join' ? (request.body ?? {}) : {}) as { readonly tokenId?: unknown }
      const who = tokenId === undefined ? known : `host with token ${String(tokenId).slice(0, 64)}`
      const [path = ''] = request.url.split('?', 1)
      audit.add({
        atMs: clock.wallMs(),
        who,
        from,
        method: request.method,
        path: path.slice(0, 500),
        status: reply.raw.statusCode
      })
    })
  }

  /** Throws `Fault('denied')` for a token that is not good. */
  #callerOf(request: IncomingMessage): Caller {
    const { operators, clock } = this.#parts
    const visitor = this.#visitors.get(request.socket)
    if (visitor !== undefined) return callerFromAfar(visitor, request, operators.state.operators, clock.wallMs())
    if (!this.#overLoopback.has(request)) return localAdmin('socket')
    admitLoopback(request.headers, this.#tokenDigest)
    return localAdmin('loopback')
  }

  #jsonRoutes(app: FastifyInstance): void {
    const { facts, raft, nodes } = this.#parts
    clusterRoutes(app, this.#config.version, facts, raft)
    nodeRoutes(app, nodes, this.#parts.remover)
    taskRoutes(app, this.#parts)
    tenantRoutes(app, this.#parts.tenants)
    eventRoutes(app, this.#parts, this.#config.events)
    identityRoutes(app, this.#parts.desk)
    authorityRoutes(app, this.#parts.desk)
    operatorRoutes(app, this.#parts.operators)
    visitorRoutes(app, this.#parts.desk, (request) => this.#visitors.get(request.raw.socket))
    app.get('/v1/openapi.json', { schema: { summary: 'This document' } }, async () => app.swagger())
  }

  #failed(
    e: Error,
    request: IncomingMessage,
    response: ServerResponse,
    send: (status: number, body: unknown) => unknown
  ): unknown {
    const answer = errorAnswer(e)
    if (answer === undefined) {
      this.#parts.log.error({ err: e.stack ?? e.message, method: request.method }, 'request.broken')
      this.#parts.onBroken(e)
      response.destroy()
      return undefined
    }
    // A stranger's body is not even thrown away. Everybody else's is, so that the client gets to read the answer.
    if (answer.body.error.code === 'denied') response.setHeader('connection', 'close')
    return send(answer.status, answer.body)
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
