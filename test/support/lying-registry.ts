import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface LyingRegistry {
  readonly host: string
  /** `METHOD path`, and the authorization where one came. */
  readonly asked: string[]
  /** What it answers to a path; with none it tells the truth about the images that it has. */
  readonly lies: Map<string, Handler>
  /** Blobs and manifests by their path below `/v2/`. */
  readonly holds: Map<string, { readonly bytes: Buffer; readonly type: string }>
}

/** A registry that says what a test wants, over HTTP or with a certificate over TLS. Ends with the test. */
export async function lyingRegistry(t: Test, tls?: { readonly key: Buffer; readonly cert: Buffer }): Promise<LyingRegistry> {
  const asked: string[] = []
  const lies = new Map<string, Handler>()
  const holds: LyingRegistry['holds'] = new Map()
  const answer: Handler = (request, response) => {
    const path = request.url ?? ''
    const { authorization } = request.headers
    asked.push(`${request.method} ${path}${authorization === undefined ? '' : ` ${authorization}`}`)
    const lie = lies.get(path.split('?', 1)[0] ?? '')
    if (lie !== undefined) return lie(request, response)
    const held = holds.get(path.slice('/v2/'.length))
    if (held === undefined) return void response.writeHead(path === '/v2/' ? 200 : 404).end('{}')
    response.writeHead(200, { 'content-type': held.type, 'content-length': held.bytes.length }).end(held.bytes)
  }
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked, lies, holds }
}
