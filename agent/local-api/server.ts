import { once } from 'node:events'
import { chmod, chown, lstat, readFile, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import type { LocalRouter } from '../ports.ts'
import { faultResponse } from './responses.ts'

interface Parts {
  readonly router: LocalRouter
  readonly log: Log
}

interface Config {
  readonly path: string
  readonly mode: number
  /** The file belongs to this group if the host has it; else to root's. */
  readonly group: string
}

const maxConnections = 256
const maxHeadBytes = 16 * 1024
const headMs = 10_000
/** A unix socket's path must fit sockaddr_un with its closing zero. */
const maxPathBytes = 107

/**
 * Serves the local API on a unix socket; the file's mode is the door. Garbage costs its sender the connection and nobody
 * else anything. Connections over the limit are closed at once.
 */
export function serveLocalApi(parts: Parts, config: Config): Service {
  const open = new Set<AbortController>()
  const server = createServer(
    { maxHeaderSize: maxHeadBytes, headersTimeout: headMs, requestTimeout: 0, keepAliveTimeout: 5_000 },
    (request, response) => {
      const controller = new AbortController()
      open.add(controller)
      response.once('close', () => {
        open.delete(controller)
        controller.abort(new Fault('unavailable', 'the client went away'))
      })
      answer(parts, request, response, controller.signal).catch((e: unknown) => {
        // What is no Fault is a bug here: let the process die with it instead of losing it in a promise.
        queueMicrotask(() => {
          throw e
        })
      })
    }
  )
  server.maxConnections = maxConnections
  return {
    name: 'local-api',
    start: () => listen(server, config),
    async stop(deadline) {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const controller of open) controller.abort(new Fault('unavailable', 'the agent is stopping'))
      server.closeIdleConnections()
      const letGo = (): void => server.closeAllConnections()
      if (deadline.aborted) letGo()
      deadline.addEventListener('abort', letGo, { once: true })
      await closed
      deadline.removeEventListener('abort', letGo)
    }
  }
}

async function listen(server: Server, config: Config): Promise<void> {
  if (Buffer.byteLength(config.path) > maxPathBytes) {
    throw new Fault('invalid', `the path of a unix socket has at most ${maxPathBytes} bytes, not: ${config.path}`)
  }
  await removeStale(config.path)
  server.listen(config.path)
  await once(server, 'listening')
  try {
    const gid = await groupId(config.group)
    if (gid !== undefined) await chown(config.path, 0, gid)
    await chmod(config.path, config.mode)
  } catch (e) {
    server.close()
    throw e
  }
}

/** Removes the socket file of an agent that is gone. Throws `Fault('conflict')` where somebody still answers on it. */
async function removeStale(path: string): Promise<void> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return
    if (errnoOf(e) === 'ECONNREFUSED' && (await lstat(path)).isSocket()) return await unlink(path)
    throw new Fault('conflict', `${path} is in the way and is no socket of ours: remove it`, { path }, e)
  } finally {
    socket.destroy()
  }
  throw new Fault('conflict', `another agent answers on ${path}: stop it first`, { path })
}

async function groupId(name: string): Promise<number | undefined> {
  const groups = await readFile('/etc/group', 'utf8')
  const row = groups.split('\n').find((line) => line.startsWith(`${name}:`))
  const gid = row?.split(':')[2]
  return gid === undefined ? undefined : Number(gid)
}

async function answer(parts: Parts, request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.on('error', () => undefined) // a client that went away; `close` follows
  request.on('error', () => undefined)
  try {
    const call = { method: request.method ?? '', url: request.url ?? '', body: request }
    const { status, contentType, body } = await parts.router(call, signal)
    // A body that nobody reads to its end must not be mistaken for the next request.
    if (request.method !== 'GET') response.shouldKeepAlive = false
    response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
    response.flushHeaders()
    await send(body, response, signal)
    response.end()
  } catch (e) {
    settle(parts.log, response, e, signal)
  }
}

async function send(body: AsyncIterable<Uint8Array>, response: ServerResponse, signal: AbortSignal): Promise<void> {
  for await (const chunk of body) {
    signal.throwIfAborted()
    if (!response.write(chunk)) await once(response, 'drain', { signal })
  }
}

/** The one catch of a request: cancelled ones are cut, Faults answered where the head is not out yet, bugs thrown on. */
function settle(log: Log, response: ServerResponse, e: unknown, signal: AbortSignal): void {
  const isExpected = signal.aborted || isFault(e) || errnoOf(e) !== undefined
  if (response.headersSent || signal.aborted || errnoOf(e) === 'ECONNRESET') {
    response.destroy()
    if (!isExpected) throw e
    if (!signal.aborted) log.warn({ err: e }, 'local_api.answer_cut')
    return
  }
  if (!isExpected) throw e
  // A system call failed that no room below expected, such as EIO of a dying disk.
  log.error({ err: e }, 'local_api.request_failed')
  const fault = new Fault('unavailable', `the agent could not do this: ${errnoOf(e)}`)
  const { status, contentType } = faultResponse(fault)
  response
    .writeHead(status, { 'content-type': contentType })
    .end(JSON.stringify({ error: { code: fault.code, message: fault.message, detail: {} } }))
}
