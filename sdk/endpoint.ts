import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import { parsePlace } from '../identity/places.ts'

export const defaultStateDir = '/var/lib/hearth'

export type Endpoint =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly token: string }
  | SecureEndpoint

/** A master of another host: the token names the authority whose certificate it has to show. */
export interface SecureEndpoint {
  readonly kind: 'tls'
  readonly host: string
  readonly port: number
  readonly token: string
}

export interface EndpointSettings {
  readonly stateDir: string
  /**
   * `https://HOST:7341`, `http://127.0.0.1:5050`, `127.0.0.1:5050` or `unix:/path`, or several of them; empty: the socket in the state
   * directory.
   */
  readonly address: string
  readonly token: string
  readonly tokenFile: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** Flag over environment over default; every mistake is told when the endpoint is used. */
export const endpointSettings = (env: Environment, stateDir: string | undefined): EndpointSettings => ({
  stateDir: stateDir ?? nonEmpty(env['HEARTH_STATE_DIR']) ?? defaultStateDir,
  address: stateDir === undefined ? (env['HEARTH_ADDR'] ?? '') : '',
  token: env['HEARTH_TOKEN'] ?? '',
  tokenFile: env['HEARTH_TOKEN_FILE'] ?? ''
})

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text)

/** All masters that were named, separated by commas. Throws as `findEndpoint`. */
export function findEndpoints(settings: EndpointSettings): readonly Endpoint[] {
  const addresses = settings.address.split(',').map((text) => text.trim())
  return addresses.map((address) => findEndpoint({ ...settings, address }))
}

/** Throws `Fault('invalid')` for an address that is none and `denied` for a token that cannot be read. */
export function findEndpoint(settings: EndpointSettings): Endpoint {
  const { address } = settings
  if (address === '') return { kind: 'socket', path: join(settings.stateDir, 'run/master.sock') }
  if (address.startsWith('unix:')) return { kind: 'socket', path: address.slice('unix:'.length) }
  if (address.startsWith('https://')) {
    const { host, port } = parsePlace(address.slice('https://'.length).replace(/\/$/, ''))
    return { kind: 'tls', host, port, token: readToken(settings) }
  }
  const found = /^(?:http:\/\/)?(\[[0-9a-fA-F:]+\]|[^:/[\]]+):(\d{1,5})\/?$/.exec(address)
  const [, host = '', port = ''] = found ?? []
  if (found === null || Number(port) > 65_535) {
    throw new Fault(
      'invalid',
      `HEARTH_ADDR must look like https://HOST:7341, http://127.0.0.1:5050 or unix:/path, not ${JSON.stringify(address)}`
    )
  }
  return { kind: 'tcp', host: host.replace(/^\[|\]$/g, ''), port: Number(port), token: readToken(settings) }
}

function readToken(settings: EndpointSettings): string {
  if (settings.token !== '') return settings.token
  const path = settings.tokenFile === '' ? join(settings.stateDir, 'token') : settings.tokenFile
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    const seen = errnoOf(cause) ?? 'unreadable'
    throw new Fault('denied', `no token: ${path} (${seen}); set HEARTH_TOKEN or HEARTH_TOKEN_FILE`, { path }, cause)
  }
}

/** unix(7): `sun_path` with its zero byte has 108. Node 20 cuts what is longer, Node 24 fails with EINVAL. */
const longestSocketPath = 107

function whatWasSeen(endpoint: Endpoint, errno: string): string {
  const bytes = endpoint.kind === 'socket' ? Buffer.byteLength(endpoint.path) : 0
  if (bytes > longestSocketPath) return `has ${bytes} bytes, and the path of a unix socket at most ${longestSocketPath}`
  if (errno === 'ENOENT') return 'is not there'
  return errno === 'ECONNREFUSED' ? 'refuses the connection' : `failed (${errno})`
}

/** What a person should do when nobody answers there, by the error that was seen. */
export function connectFault(endpoint: Endpoint, cause: unknown): Fault {
  const scheme = endpoint.kind === 'tls' ? 'https' : 'http'
  const where = endpoint.kind === 'socket' ? endpoint.path : `${scheme}://${endpoint.host}:${endpoint.port}`
  const errno = errnoOf(cause) ?? ''
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new Fault('denied', `${where} is open to root and group hearth only; use sudo or join that group`, { where }, cause)
  }
  if (errno === 'EPIPE' || errno === 'ECONNRESET') {
    const next = 'it may have been restarted: see hearth status, and try again'
    return new Fault(
      'unavailable',
      `the connection to ${where} broke off before the answer (${errno}); ${next}`,
      { where },
      cause
    )
  }
  const seen = whatWasSeen(endpoint, errno)
  const next = 'start it with `sudo hearth up` or `npm start`, or name another with --state-dir or HEARTH_ADDR'
  return new Fault('unavailable', `no master: ${where} ${seen}; ${next}`, { where }, cause)
}
