import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { channels, encodeStreamFrame, encodeStreamJson, streamContentType } from '../../proto/stream-frame.ts'
import { serveOnSocket } from '../sdk/http-fixture.ts'

export interface FakeOperator {
  readonly address: string
  /** What was asked for, as `METHOD /path`. */
  readonly requests: readonly string[]
}

/** A master of one task that writes without end, and whose exec ends with `execEnd`. */
export async function serveTask(t: Test, execEnd: unknown = { exitCode: 0 }): Promise<FakeOperator> {
  const requests: string[] = []
  const endpoint = await serveOnSocket(t, async (request, response) => {
    const what = `${request.method} ${request.url?.split('?')[0]}`
    requests.push(what)
    if (what === 'GET /v1/tasks/a/logs') await writeOn(request, response)
    else if (what === 'POST /v1/tasks/a/exec') {
      response.writeHead(200, { 'content-type': streamContentType }).end(encodeStreamJson(channels.end, execEnd))
    } else response.end(JSON.stringify({ taskId: 'a', name: 'a', state: 'running', removeWhenDone: false }))
  })
  return { address: endpoint.kind === 'socket' ? `unix:${endpoint.path}` : '', requests }
}

async function writeOn(request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': streamContentType })
  const gone = new Promise<void>((resolve) => request.socket.once('close', resolve))
  while (!request.socket.destroyed) {
    if (response.write(encodeStreamFrame(channels.stdout, Buffer.from('y\n'.repeat(1_000))))) {
      await new Promise((resolve) => setImmediate(resolve))
    } else await Promise.race([once(response, 'drain'), gone])
  }
}
