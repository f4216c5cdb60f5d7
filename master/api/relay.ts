import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Fault, isFault } from '../../base/fault.ts'
import { channels, encodeStreamJson, streamContentType } from '../../proto/stream-frame.ts'
import type { AgentLink, RelayResponse } from '../link.ts'
import type { NodeDirectory } from './ports.ts'

/** Aborts when the client has gone. */
export function clientSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort(new Fault('unavailable', 'the client went away')))
  return gone.signal
}

/** Throws `Fault('unavailable')` while the node is away. */
export function linkTo(nodes: NodeDirectory, nodeId: string): AgentLink {
  const link = nodes.link(nodeId)
  if (link !== undefined) return link
  const hostname = nodes.node(nodeId)?.hostname ?? nodeId
  throw new Fault('unavailable', `node ${hostname} is not connected to the master now; try again when it is back`, { nodeId })
}

/** Passes a request on to an agent's local route and its answer back, both as streams. */
export async function relay(
  link: AgentLink,
  path: string,
  request: FastifyRequest,
  reply: FastifyReply,
  signal: AbortSignal
): Promise<void> {
  const { method } = request
  const withBody = method === 'POST' || method === 'PUT'
  const body = withBody && hasBody(request) ? piecesOf(request.raw) : new Uint8Array()
  const answer = await link.open({ method, path: path + queryOf(request), body }, signal)
  reply.hijack()
  await copy(answer, request.raw, reply.raw)
}

/** The body; what its reader leaves is thrown away as it comes, so that the client gets to read an answer that came early. */
async function* piecesOf(request: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    yield* request.iterator({ destroyOnReturn: false })
  } finally {
    request.resume()
  }
}

const hasBody = ({ headers }: FastifyRequest): boolean =>
  headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'

function queryOf(request: FastifyRequest): string {
  const at = request.raw.url?.indexOf('?') ?? -1
  return at < 0 ? '' : (request.raw.url?.slice(at) ?? '')
}

async function copy(answer: RelayResponse, request: IncomingMessage, to: ServerResponse): Promise<void> {
  // While the client still writes, closing would break its pipe before it has read the answer.
  const connection = request.complete ? 'close' : 'keep-alive'
  const head = { 'content-type': answer.contentType, 'cache-control': 'no-store', connection }
  to.writeHead(answer.status, head)
  to.flushHeaders()
  const boundary = answer.contentType === streamContentType ? new FrameBoundary() : undefined
  try {
    for await (const chunk of answer.body) {
      boundary?.pass(chunk)
      if (!to.write(chunk)) await drained(to)
    }
    to.end()
  } catch (e) {
    if (!isFault(e)) throw e
    // The head is out: what can still be told goes into the stream's last frame, else only the broken connection tells it.
    const { code, message, detail } = e
    if (boundary?.isBetween) to.end(encodeStreamJson(channels.end, { error: { code, message, detail } }))
    else to.destroy()
  }
}

function drained(to: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      to.off('drain', go)
      to.off('close', go)
      resolve()
    }
    to.once('drain', go)
    to.once('close', go)
    if (to.destroyed) go()
  })
}

/** Follows stream frames without keeping them, to know whether the last one is whole. */
class FrameBoundary {
  #head: number[] = []
  #left = 0

  get isBetween(): boolean {
    return this.#left === 0 && this.#head.length === 0
  }

  pass(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const skipped = Math.min(this.#left, chunk.length - at)
        this.#left -= skipped
        at += skipped
        continue
      }
      this.#head.push(chunk[at] ?? 0)
      at += 1
      if (this.#head.length < 5) continue
      this.#left = Buffer.from(this.#head).readUInt32BE(1)
      this.#head = []
    }
  }
}
