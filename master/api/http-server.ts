import { chmod, chown, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import fastify, { type FastifyInstance } from 'fastify'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile } from '../../base/replace-file.ts'
import type { Service } from '../../base/service.ts'
import type { RaftFacts } from '../consensus/raft-facts.ts'
import type { EventSubject, Events } from '../events.ts'
import { removeSocket } from './agent-link.ts'
import { clusterRoutes } from './cluster.ts'
import { admitLoopback, digest } from './door.ts'
import { errorAnswer, maxBodyBytes, parseJsonBody } from './errors.ts'
import { type EventRouteConfig, eventRoutes } from './events.ts'
import { fsckRoutes } from './fsck.ts'
import { imageRoutes } from './images.ts'
import { nodeRelayRoutes, nodeRoutes } from './nodes.ts'
import { openapiOptions } from './openapi.ts'
import type { ClusterFacts, NodeDirectory, TaskService, Whereabouts } from './ports.ts'
import { taskRoutes, taskStreamRoutes } from './tasks.ts'

export interface HttpServerParts {
  readonly tasks: TaskService
  readonly nodes: NodeDirectory
  readonly whereabouts: Whereabouts
  readonly events: Events
  readonly snapshot: (wanted: (subject: EventSubject) => boolean) => unknown
  readonly facts: () => ClusterFacts
  readonly raft: () => RaftFacts
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
    app.addHook('onRequest', async (request) => {
      if (this.#overLoopback.has(request.raw)) admitLoopback(request.headers, this.#tokenDigest)
    })
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

  #jsonRoutes(app: FastifyInstance): void {
    const { facts, raft, nodes } = this.#parts
    clusterRoutes(app, this.#config.version, facts, raft)
    nodeRoutes(app, nodes)
    taskRoutes(app, this.#parts)
    eventRoutes(app, this.#parts, this.#config.events)
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
