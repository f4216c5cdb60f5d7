import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Endpoint } from '../../sdk/endpoint.ts'

type Listener = (request: IncomingMessage, response: ServerResponse) => unknown

/** A server on a unix socket of its own for the time of the test. */
export async function serveOnSocket(t: Test, listener: Listener): Promise<Endpoint> {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-sdk-'))
  const path = join(folder, 's')
  const server = createServer((request, response) => void listener(request, response))
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
  })
  return { kind: 'socket', path }
}

/** The same on loopback, for what only exists there. */
export async function serveOnLoopback(t: Test, token: string, listener: Listener): Promise<Endpoint> {
  const server = createServer((request, response) => void listener(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { kind: 'tcp', host: '127.0.0.1', port: address.port, token }
}
