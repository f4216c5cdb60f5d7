import { type IncomingMessage, request } from 'node:http'
import { pipeline } from 'node:stream'
import { Fault, type FaultDetail, isFaultCode } from '../base/fault.ts'
import { connectFault, type Endpoint, type SecureEndpoint } from './endpoint.ts'

/** An answer larger than this is refused; lists of this size want filters. */
const maxAnswerBytes = 64 * 1024 * 1024
const maxErrorBytes = 1024 * 1024

export interface HttpRequest {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>
}

/**
 * Resolves with the response once its head is there; the body may still be coming and the request's body still going. Rejects
 * with the Fault that the other side sent, `unavailable` where nobody answers, the signal's reason, or what the body failed with; a
 * body that fails later fails the reading of the response.
 */
export async function sendRequest(endpoint: Endpoint, what: HttpRequest, signal: AbortSignal): Promise<IncomingMessage> {
  const upload = new AbortController()
  const channel = endpoint.kind === 'tls' ? await secured(endpoint, signal) : { request, options: target(endpoint) }
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = channel.request({
      ...channel.options,
      agent: false,
      method: what.method,
      path: what.path,
      headers: headersOf(endpoint, what),
      signal
    })
    // Once the response is there it tells the outcome, whatever becomes of the rest of the request.
    outgoing.on('error', (e) => {
      if (upload.signal.aborted) reject(upload.signal.reason)
      else reject(signal.aborted ? signal.reason : connectFault(endpoint, e))
    })
    outgoing.on('response', (incoming) => {
      // The answer is read: what is left of an upload that was refused has nobody to go to.
      incoming.once('close', () => {
        if (!outgoing.writableFinished) outgoing.destroy()
      })
      upload.signal.addEventListener('abort', () => incoming.destroy(upload.signal.reason as Error), { once: true })
      resolve(incoming)
    })
    if (what.body === undefined || what.body instanceof Uint8Array) outgoing.end(what.body)
    else {
      outgoing.flushHeaders()
      pipeline(watched(what.body, upload), outgoing, (e) => {
        if (e) outgoing.destroy(e)
      })
    }
  })
  if ((response.statusCode ?? 500) < 400) return response
  throw await faultOf(response)
}

/** Tells a failure of the body itself from one of the connection that it goes over. */
async function* watched(body: AsyncIterable<Uint8Array>, upload: AbortController): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (e) {
    upload.abort(e)
    throw e
  }
}

export async function readJson(response: IncomingMessage): Promise<unknown> {
  const text = await readAll(response, maxAnswerBytes)
  if (text === '') return null
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Fault('corrupt', 'the master answered something that is not JSON', { status: response.statusCode ?? 0 }, cause)
  }
}

// Without a server name node looks whether the host is an IPv6 address, for TLS only, and compiles 10 ms of regular expression for it.
const target = (endpoint: Exclude<Endpoint, SecureEndpoint>) =>
  endpoint.kind === 'socket'
    ? { socketPath: endpoint.path, servername: '' }
    : { host: endpoint.host, port: endpoint.port, servername: '' }

/** Loaded where it is needed: TLS costs a command 10 ms that most of them do not spend. */
async function secured(endpoint: SecureEndpoint, signal: AbortSignal) {
  const { secureRequest } = await import('./secure.ts')
  return await secureRequest(endpoint, signal)
}

function headersOf(endpoint: Endpoint, what: HttpRequest): Record<string, string> {
  // A server that was told to close does so right after its answer, and an answer that comes before the end of an upload is
  // lost in the broken pipe.
  const isStream = what.body !== undefined && !(what.body instanceof Uint8Array)
  const headers: Record<string, string> = { connection: isStream ? 'keep-alive' : 'close', ...what.headers }
  if (endpoint.kind !== 'socket') headers['authorization'] = `Bearer ${endpoint.token}`
  if (endpoint.kind === 'socket') headers['host'] = 'localhost'
  if (what.body instanceof Uint8Array) headers['content-length'] = String(what.body.length)
  return headers
}

async function faultOf(response: IncomingMessage): Promise<Fault> {
  const status = response.statusCode ?? 0
  const text = await readAll(response, maxErrorBytes).catch(() => '') // the status alone still tells the outcome
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; detail?: FaultDetail } }
    if (isFaultCode(error.code)) return new Fault(error.code, String(error.message), error.detail ?? {})
  } catch {
    // not our error format: fall through to what the status says
  }
  const code = status === 401 ? 'denied' : status === 404 ? 'not-found' : 'unavailable'
  return new Fault(code, `the master answered ${status} ${response.statusMessage ?? ''}`.trim(), { status })
}

async function readAll(response: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > limit) throw new Fault('exhausted', `the answer is over the limit of ${limit} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
