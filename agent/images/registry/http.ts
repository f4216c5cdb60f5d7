import { readdirSync, readFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request as plainRequest } from 'node:http'
import { type AgentOptions, type RequestOptions, Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { errnoOf, Fault } from '../../../base/fault.ts'
import { isDirect, openTunnel, type ProxySettings } from './proxy.ts'
import type { Patience, RegistrySettings } from './settings.ts'

/** An answer whose body is read by `bytesOf` or let go by `drop`. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Where it came from in the end. */
  readonly url: URL
  readonly body: IncomingMessage
}

export interface Call {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly method?: 'GET' | 'POST'
  readonly form?: string
}

const maxRedirects = 5
const maxSockets = 8
const maxDroppedBytes = 64 * 1024
const redirects = new Set([301, 302, 303, 307, 308])
const systemAuthorities = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt']
/** HTTP/1.1 without TLS, met by a server that speaks TLS only, or by one that speaks no HTTP. */
const noPlainHttp = /^(ECONNRESET|EPIPE|HPE_)/

/** HTTP as registries need it: TLS but for hosts that are let off, redirects on which no credentials follow to another host. */
export class RegistryHttp {
  readonly #settings: Pick<RegistrySettings, 'insecure' | 'certificates' | 'patience'>
  readonly #plain = new Agent({ keepAlive: true, maxSockets })
  readonly #tls = new Map<string, TlsAgent>()

  readonly #proxy: ProxySettings | undefined

  readonly #loopback: 'let-off' | 'as-others'

  /** `loopback`: whether addresses of this host may be spoken to without TLS although nobody named them. */
  constructor(
    settings: Pick<RegistrySettings, 'insecure' | 'certificates' | 'patience'>,
    proxy?: ProxySettings,
    loopback: 'let-off' | 'as-others' = 'let-off'
  ) {
    this.#settings = settings
    this.#proxy = proxy
    this.#loopback = loopback
  }

  /** Whether this host may be spoken to without TLS. */
  isLetOff(url: URL): boolean {
    const { insecure } = this.#settings
    if (this.#loopback === 'let-off' && isLoopback(url.hostname)) return true
    return insecure.includes(url.host) || insecure.includes(url.hostname)
  }

  /** A host that is let off speaks what it speaks; every other one TLS. */
  async baseOf(host: string, signal: AbortSignal): Promise<URL> {
    const secure = new URL(`https://${host}/`)
    const plain = new URL(`http://${host}/`)
    if (!this.isLetOff(plain)) return secure
    try {
      const answer = await this.#once({ url: new URL('v2/', plain), headers: {} }, signal)
      drop(answer)
      return answer.status === 400 ? secure : plain
    } catch (e) {
      if (e instanceof Fault && noPlainHttp.test(String(e.detail['errno']))) return secure
      throw e
    }
  }

  /** Follows redirects; the authorization goes no further than the host that it is meant for. */
  async send(call: Call, signal: AbortSignal): Promise<Answer> {
    let { url, headers } = call
    for (let hops = 0; hops <= maxRedirects; hops += 1) {
      const answer = await this.#once({ ...call, url, headers }, signal)
      const { location } = answer.headers
      if (!redirects.has(answer.status) || location === undefined || call.method === 'POST') return answer
      drop(answer)
      const next = this.#followed(location, url)
      if (next.origin !== url.origin) {
        const { authorization: _, ...rest } = headers
        headers = rest
      }
      url = next
    }
    throw new Fault('unavailable', `${call.url.host} redirects in circles, more than ${maxRedirects} times`)
  }

  close(): void {
    this.#plain.destroy()
    for (const agent of this.#tls.values()) agent.destroy()
  }

  #followed(location: string, from: URL): URL {
    const next = URL.canParse(location, from.href) ? new URL(location, from) : undefined
    if (next === undefined || !/^https?:$/.test(next.protocol) || next.username !== '' || next.password !== '') {
      throw new Fault('denied', `${from.host} redirects to ${JSON.stringify(location.slice(0, 80))}, which is no place to follow`)
    }
    return next
  }

  #once(call: Call, signal: AbortSignal): Promise<Answer> {
    const { url, form, method = 'GET' } = call
    if (url.protocol === 'http:' && !this.isLetOff(url)) {
      throw new Fault(
        'denied',
        `${url.host} is to be spoken to without TLS, which this node does only with registries named by --insecure-registries`
      )
    }
    const headers = { 'user-agent': 'hearth', ...call.headers, ...(form === undefined ? {} : formHeaders(form)) }
    return new Promise((resolve, reject) => {
      const isPlain = url.protocol === 'http:'
      const options = { method, headers, agent: isPlain ? this.#plain : this.#tlsAgent(url), signal }
      const request = (isPlain ? plainRequest : tlsRequest)(url, options)
      const timer = setTimeout(() => request.destroy(stalled(url)), this.#settings.patience.stallMs)
      request.on('error', (e) => {
        clearTimeout(timer)
        reject(signal.aborted ? (signal.reason as Error) : failureOf(e, url))
      })
      request.once('response', (body) => {
        clearTimeout(timer)
        // What breaks later is told to the one who reads the body.
        body.on('error', () => undefined)
        resolve({ status: body.statusCode ?? 0, headers: body.headers, url, body })
      })
      request.end(form)
    })
  }

  #tlsAgent(url: URL): TlsAgent {
    const { host } = url
    const known = this.#tls.get(host)
    if (known !== undefined) return known
    const ca = [systemCertificates(), ...ownCertificates(this.#settings.certificates, host)].filter((pem) => pem !== '')
    const options = { keepAlive: true, maxSockets, ...(ca.length === 0 ? {} : { ca }) }
    const proxy = isLoopback(url.hostname) || (this.#proxy !== undefined && isDirect(this.#proxy, url)) ? undefined : this.#proxy
    const agent = proxy === undefined ? new TlsAgent(options) : new TunnelAgent(options, proxy, this.#settings.patience.stallMs)
    this.#tls.set(host, agent)
    return agent
  }
}

/** TLS from end to end through a tunnel: the proxy learns the host's name and no more. */
class TunnelAgent extends TlsAgent {
  readonly #proxy: ProxySettings
  readonly #timeoutMs: number

  constructor(options: AgentOptions, proxy: ProxySettings, timeoutMs: number) {
    super(options)
    this.#proxy = proxy
    this.#timeoutMs = timeoutMs
  }

  override createConnection(options: RequestOptions, created?: (e: Error | null, stream: Duplex) => void): undefined {
    const host = options.hostname ?? options.host ?? ''
    const tunnel = openTunnel(this.#proxy, host, Number(options.port ?? 443), this.#timeoutMs)
    const joined = async (): Promise<Duplex> => {
      const socket = await tunnel
      const stream = super.createConnection({ ...options, socket } as RequestOptions)
      if (stream === null || stream === undefined) throw new Error('invariant broken: TLS over a socket made no stream')
      return stream
    }
    joined().then(
      (stream) => created?.(null, stream),
      // node:http takes an error alone; its types want a stream beside it.
      (e: Error) => (created as ((e: Error) => void) | undefined)?.(e)
    )
  }
}

/** The body's bytes; `unavailable` where the connection breaks before the end, `timeout` where it stalls or drips. */
export async function* bytesOf(answer: Answer, patience: Patience): AsyncGenerator<Buffer> {
  const { url, body } = answer
  const chunks = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]()
  let [windowMs, windowBytes] = [0, 0]
  try {
    for (;;) {
      // Only the time in which we wait for the registry counts: a slow disk here is none of its faults.
      const from = performance.now()
      const timer = setTimeout(() => body.destroy(stalled(url)), patience.stallMs)
      const chunk = await chunks
        .next()
        .catch((e: unknown) => Promise.reject(e instanceof Fault ? e : failureOf(e, url)))
        .finally(() => clearTimeout(timer))
      if (chunk.done === true) break
      windowMs += performance.now() - from
      windowBytes += chunk.value.length
      if (windowMs > patience.slowMs) {
        if (windowBytes * 1_000 < patience.leastBytesPerSecond * windowMs) throw tooSlow(url, patience)
        windowMs = 0
        windowBytes = 0
      }
      yield chunk.value
    }
    if (!body.complete) throw new Fault('unavailable', `${url.host} ended the connection in the middle of an answer`)
  } finally {
    body.destroy()
  }
}

/** The whole of a short body. */
export async function shortBody(answer: Answer, maxBytes: number, patience: Patience): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const chunk of bytesOf(answer, patience)) {
    length += chunk.length
    if (length > maxBytes)
      throw new Fault('invalid', `${answer.url.host} answers with more than ${maxBytes} bytes where a document was asked for`)
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}

/** Lets an answer go that nobody reads; a short one leaves its connection for the next call. */
export function drop({ headers, body }: Answer): void {
  if (Number(headers['content-length'] ?? Number.NaN) <= maxDroppedBytes) body.resume()
  else body.destroy()
}

/** 127.0.0.0/8, ::1 and localhost itself (RFC 6761, section 6.3): what goes there never leaves the host. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.[0-9]{1,3}){3}$/.test(hostname)
}

const formHeaders = (form: string): Record<string, string> => ({
  'content-type': 'application/x-www-form-urlencoded',
  'content-length': String(Buffer.byteLength(form))
})

const stalled = (url: URL): Fault => new Fault('timeout', `${url.host} does not answer any more`)
const tooSlow = (url: URL, { leastBytesPerSecond }: Patience): Fault =>
  new Fault('timeout', `${url.host} sends fewer than ${leastBytesPerSecond} bytes a second`)

const certificateErrors = /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT)/

function failureOf(e: unknown, url: URL): Fault {
  if (e instanceof Fault) return e
  const errno = errnoOf(e) ?? ''
  if (certificateErrors.test(errno)) {
    return new Fault(
      'denied',
      `the certificate of ${url.host} is not to be trusted (${errno}): put its authority into /etc/docker/certs.d/${url.host}/ca.crt`
    )
  }
  const why: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'nobody listens there',
    ENOTFOUND: 'no such host is known',
    EAI_AGAIN: 'its name cannot be looked up now'
  }
  const said = why[errno] ?? (e instanceof Error ? e.message : String(e))
  return new Fault('unavailable', `${url.host} cannot be reached: ${said}`, { errno })
}

function systemCertificates(): string {
  for (const path of systemAuthorities) {
    const text = textOf(path)
    if (text !== '') return text
  }
  return ''
}

function ownCertificates(folders: readonly string[], host: string): readonly string[] {
  return folders.flatMap((folder) => {
    const place = join(folder, host)
    return namesIn(place)
      .filter((name) => name.endsWith('.crt'))
      .map((name) => textOf(join(place, name)))
  })
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return [] // most registries have no folder of their own
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // not this family of Linux
  }
}
