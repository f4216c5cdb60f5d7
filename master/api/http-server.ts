import type { IncomingMessage, ServerResponse } from 'node:http'
import swagger from '@fastify/swagger'
import fastify, { type FastifyInstance } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import { anyRole } from '../../proto/ids.ts'
import type { AuditLog } from '../audit.ts'
import { isCancelled } from '../background.ts'
import type { EventSubject, Events } from '../events.ts'
import type { CertificateDesk } from '../identity/certificate-desk.ts'
import type { Tenants } from '../tenants.ts'
import { callerOf, checkCaller, checkTenant } from './caller.ts'
import { clusterRoutes } from './cluster.ts'
import { answerJson } from './doors.ts'
import { errorAnswer, maxBodyBytes, parseJsonBody } from './errors.ts'
import { type EventRouteConfig, eventRoutes } from './events.ts'
import { fsckRoutes } from './fsck.ts'
import { authorityRoutes, identityRoutes, visitorRoutes } from './identity.ts'
import { imageRoutes } from './images.ts'
import { nodeRelayRoutes, nodeRoutes } from './nodes.ts'
import { openapiOptions } from './openapi.ts'
import { type OperatorDesk, operatorRoutes } from './operators.ts'
import type { ClusterFacts, LeaseDirectory, NodeDirectory, NodeRemover, TaskService, Whereabouts } from './ports.ts'
import { type RaftDesk, raftRoutes } from './raft.ts'
import { taskRoutes, taskStreamRoutes } from './tasks.ts'
import { type TenantDirectory, tenantRoutes } from './tenants.ts'
import type { Validators } from './validators.ts'

export interface HttpServerParts {
  readonly tasks: TaskService
  readonly nodes: NodeDirectory
  readonly leases: LeaseDirectory
  readonly whereabouts: Whereabouts
  readonly tenants: TenantDirectory & Pick<Tenants, 'refusal'>
  readonly events: Events
  readonly snapshot: (wanted: (subject: EventSubject) => boolean) => unknown
  readonly facts: () => ClusterFacts
  readonly raft: RaftDesk
  /** Before anything is read: a leader that has been followed by another, and does not know yet, must not answer. */
  readonly upToDate: (signal: AbortSignal) => Promise<void>
  readonly desk: CertificateDesk
  readonly remover: NodeRemover
  readonly operators: OperatorDesk
  readonly audit: Pick<AuditLog, 'add'>
  readonly validators: Pick<Validators, 'compiler'>
  readonly clock: Pick<Clock, 'wallMs'>
  readonly log: Log
  /** Hears of what is no request's fault: the process must not go on. */
  readonly onBroken: (e: unknown) => void
}

export interface HttpServerConfig {
  readonly version: string
  readonly events: EventRouteConfig
}

/** What a master tells of itself needs nobody else. */
const aboutItself: ReadonlySet<string> = new Set(['/v1/version', '/v1/raft', '/v1/raft/members', '/v1/openapi.json', '/metrics'])
const readPatienceMs = 5_000

/** The operator API of a leader. Its doors are elsewhere: they outlast each leader. */
export class HttpServer implements Service {
  readonly name = 'http-server'
  readonly #parts: HttpServerParts
  readonly #config: HttpServerConfig
  #app: FastifyInstance | undefined

  constructor(parts: HttpServerParts, config: HttpServerConfig) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    this.#app = await this.#build()
  }

  /** Not before `start` has resolved. */
  answer(request: IncomingMessage, response: ServerResponse): void {
    this.#app?.routing(request, response)
  }

  async stop(): Promise<void> {
    await this.#app?.close()
  }

  async #build(): Promise<FastifyInstance> {
    const app = fastify({
      bodyLimit: maxBodyBytes,
      exposeHeadRoutes: false,
      // What fails before there is a route, such as a path that cannot be decoded.
      frameworkErrors: (e, request, { raw }) =>
        this.#failed(e, request.raw, raw, (status, body) => answerJson(raw, status, body)),
      routerOptions: { maxParamLength: 3 * 255, ignoreTrailingSlash: true }
    })
    app.setValidatorCompiler(await this.#parts.validators.compiler())
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
      try {
        done(null, parseJsonBody(body as Buffer))
      } catch (e) {
        done(e as Error)
      }
    })
    app.addHook('onRequest', async (request) => {
      if (request.method === 'GET' && !aboutItself.has(request.url)) await this.#upToDate(request.raw)
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
      checkCaller(callerOf(request.headers), request.method, request.routeOptions.url ?? '')
    })
    app.addHook('preHandler', async (request) => {
      const caller = callerOf(request.headers)
      const route = request.routeOptions.url ?? ''
      if (caller.tenant === '' || !route.startsWith('/v1/tasks')) return
      const { id } = request.params as { readonly id?: string }
      if (id !== undefined) checkTenant(caller, tasks.get(id)?.role ?? 'no role any more')
      else if (request.method === 'POST') checkTenant(caller, (request.body as { readonly role?: string }).role ?? anyRole)
    })
    app.addHook('onResponse', async (request, reply) => {
      if (request.method === 'GET') return
      const { who: known, from } = callerOf(request.headers)
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

  async #upToDate({ socket }: IncomingMessage): Promise<void> {
    const over = new AbortController()
    const end = (): void => over.abort(new Fault('unavailable', 'the client has gone'))
    socket.once('close', end)
    try {
      const patience = AbortSignal.timeout(readPatienceMs)
      await this.#parts.upToDate(AbortSignal.any([over.signal, patience]))
    } catch (e) {
      throw e instanceof Error && e.name === 'TimeoutError' ? noMajority(e) : e
    } finally {
      socket.off('close', end)
    }
  }

  #jsonRoutes(app: FastifyInstance): void {
    const { facts, raft, nodes } = this.#parts
    clusterRoutes(app, this.#config.version, facts)
    raftRoutes(app, raft)
    nodeRoutes(app, nodes, this.#parts.remover)
    taskRoutes(app, this.#parts)
    tenantRoutes(app, this.#parts.tenants)
    eventRoutes(app, this.#parts, this.#config.events)
    identityRoutes(app, this.#parts.desk)
    authorityRoutes(app, this.#parts.desk)
    visitorRoutes(app, this.#parts.desk)
    operatorRoutes(app, this.#parts.operators)
    app.get('/v1/openapi.json', { schema: { summary: 'This document' } }, async () => app.swagger())
  }

  #failed(
    e: Error,
    request: IncomingMessage,
    response: ServerResponse,
    send: (status: number, body: unknown) => unknown
  ): unknown {
    const answer = errorAnswer(isCancelled(e) ? leadershipLost(e) : e)
    if (answer === undefined) {
      this.#parts.log.error({ err: e.stack ?? e.message, method: request.method }, 'request.broken')
      this.#parts.onBroken(e)
      response.destroy()
      return undefined
    }
    return send(answer.status, answer.body)
  }
}

const noMajority = (cause: Error): Fault =>
  new Fault('unavailable', 'this master hears from no majority of the masters; see hearth raft status', {}, cause)

/** The rooms behind the API were closed while they worked on the request. */
function leadershipLost(cause: Error): Fault {
  const next = 'the request may have taken effect or not: look before you repeat it'
  return new Fault('unavailable', `this master stops, or leads no more; ${next}`, { isUnknown: true }, cause)
}
