import findMyWay from 'find-my-way'
import { Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { LocalRequest, LocalResponse, LocalRouter } from '../ports.ts'
import { explainRoute } from './explain-route.ts'
import { archiveInRoute, archiveOutRoute, filesRoute } from './file-routes.ts'
import { type FsckSource, fsckRoutes } from './fsck-routes.ts'
import { type KeptLogSource, keptLogRoutes, loggedTask } from './kept-log-routes.ts'
import { healthRoute, type NodeSource, nodeRoutes } from './node-routes.ts'
import { type ResizeSource, resizeRoutes } from './resize-routes.ts'
import { faultResponse, jsonResponse } from './responses.ts'
import { type StatsSource, statsRoutes } from './stats-routes.ts'
import { type LocalTasks, type LogSource, logRoute, type TaskStreams, taskOf, taskRow } from './task-routes.ts'

export interface LocalApiParts {
  readonly tasks: LocalTasks
  readonly readLog: LogSource
  readonly streams: TaskStreams
  /** Serves everything under /v1/images; absent where this agent has no image store. */
  readonly images?: LocalRouter
  /** With `refresh` after a look at everything. */
  readonly health: (refresh: boolean) => Promise<Readonly<Record<string, unknown>>>
  /** Logs of removed tasks; absent where none are kept. */
  readonly kept?: KeptLogSource
  /** Absent where this is the API alone, before any agent. */
  readonly node?: NodeSource
  /** Absent where this is the API alone, before any agent. */
  readonly resizes?: ResizeSource
  /** Absent where this is the API alone, before any agent. */
  readonly stats?: StatsSource
  /** Absent where this is the API alone, before any agent. */
  readonly fsck?: FsckSource
  readonly log: Log
}

export interface RouteCall {
  readonly params: Readonly<Record<string, string | undefined>>
  readonly query: URLSearchParams
  readonly request: LocalRequest
  readonly signal: AbortSignal
}

type Route = (call: RouteCall) => Promise<LocalResponse>

/** An id has up to 255 bytes, each of which may be written as `%XX`. */
const maxParamLength = 3 * 255
const maxUrlBytes = 8 * 1024

/**
 * The agent's local API (docs/architecture.md), for the unix socket and for streams over the agent link alike. The router
 * answers every Fault itself, as `{error: {code, message, detail}}`; it rejects only for cancellation and broken invariants.
 */
export function createLocalRouter(parts: LocalApiParts): LocalRouter {
  const find = routeTable(routesOf(parts))
  return async (request, signal) => {
    try {
      return await find(request, signal)
    } catch (e) {
      if (!isFault(e)) throw e
      parts.log.debug({ method: request.method, code: e.code, fault: e.message }, 'local_api.refused')
      return faultResponse(e)
    }
  }
}

function routesOf(parts: LocalApiParts): readonly (readonly [method: string, path: string, route: Route])[] {
  const { tasks, streams, images } = parts
  const task = '/v1/tasks/:framework/:task'
  const own: (readonly [string, string, Route])[] = [
    ['GET', '/v1/health', (call) => healthRoute(parts.health, call)],
    ...(parts.node === undefined ? [] : nodeRoutes(parts.node)),
    ...(parts.fsck === undefined ? [] : fsckRoutes(parts.fsck)),
    ['GET', '/v1/tasks', async () => jsonResponse(200, { tasks: tasks.list().map(taskRow) })],
    ['GET', task, async (call) => jsonResponse(200, taskRow(taskOf(tasks, call)))],
    ...(parts.kept === undefined ? [] : keptLogRoutes(tasks, parts.kept)),
    ['GET', `${task}/logs`, async (call) => logRoute(parts, await loggedTask(parts, call), call)],
    ['GET', `${task}/explain`, (call) => explainRoute(taskOf(tasks, call))],
    ...(parts.resizes === undefined ? [] : resizeRoutes(tasks, parts.resizes)),
    ...(parts.stats === undefined ? [] : statsRoutes(tasks, parts.stats)),
    ['POST', `${task}/exec`, (call) => streams.exec(taskOf(tasks, call), call.request.body, call.signal)],
    ['POST', `${task}/attach`, (call) => streams.attach(taskOf(tasks, call), call.request.body, call.signal)],
    ['GET', `${task}/files`, (call) => filesRoute(taskOf(tasks, call), call)],
    ['GET', `${task}/archive`, (call) => archiveOutRoute(taskOf(tasks, call), call)],
    ['PUT', `${task}/archive`, (call) => archiveInRoute(taskOf(tasks, call), call)],
    [
      'POST',
      '/v1/workloads/stop',
      async (call) => {
        await tasks.stopAll(call.signal)
        return jsonResponse(200, { stopped: true })
      }
    ]
  ]
  if (images === undefined) return own
  const toImages: Route = (call) => images(call.request, call.signal)
  const under = ['GET', 'POST', 'PUT', 'DELETE'].flatMap((method) =>
    ['/v1/images', '/v1/images/*'].map((path) => [method, path, toImages] as const)
  )
  return [...own, ...under]
}

function routeTable(rows: readonly (readonly [string, string, Route])[]): LocalRouter {
  const table = findMyWay({ maxParamLength, ignoreTrailingSlash: true })
  const routes = new Map<unknown, Route>()
  const methods = new Set<string>()
  for (const [method, path, route] of rows) {
    const key = (): void => undefined
    routes.set(key, route)
    methods.add(method)
    table.on(method as findMyWay.HTTPMethod, path, key)
  }
  const lookup = (method: string, url: string) => (methods.has(method) ? table.find(method as findMyWay.HTTPMethod, url) : null)
  return async (request, signal) => {
    if (Buffer.byteLength(request.url) > maxUrlBytes) throw new Fault('invalid', `a URL has at most ${maxUrlBytes} bytes`)
    const found = lookup(request.method, request.url)
    const route = routes.get(found?.handler)
    if (found === null || route === undefined) throw unknownRoute(request, [...methods], lookup)
    const at = request.url.indexOf('?')
    const query = new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1))
    return route({ params: found.params, query, request, signal })
  }
}

function unknownRoute(request: LocalRequest, methods: readonly string[], lookup: (m: string, url: string) => unknown): Fault {
  const path = request.url.split('?', 1)[0] ?? ''
  const allowed = methods.filter((m) => lookup(m, request.url) !== null)
  if (allowed.length > 0) return new Fault('invalid', `${path} takes ${allowed.join(', ')}, not ${request.method}`)
  return new Fault('not-found', `the agent has no route ${request.method} ${path.slice(0, 200)}`)
}
