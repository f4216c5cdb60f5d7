import { request } from 'node:http'
import type { Socket } from 'node:net'
import { errnoOf, Fault } from '../../../base/fault.ts'

/** A proxy of HTTP that makes tunnels (RFC 9110, section 9.3.6), and who is spoken to without it. */
export interface ProxySettings {
  /** `http://[name:password@]host:port`. Reaches the child by its standard input alone. */
  readonly url: string
  /** As NO_PROXY has them: hosts, with everything below them, with a port where it matters; `*` for all. */
  readonly direct: readonly string[]
}

/** Whether a host, by name or address, is spoken to without the proxy. Pure. */
export function isDirect({ direct }: Pick<ProxySettings, 'direct'>, { hostname, port }: URL): boolean {
  const host = hostname.toLowerCase()
  return direct.some((one) => {
    const [, name = '', at = ''] = /^\*?\.?(.*?)(?::([0-9]+))?$/.exec(one.toLowerCase()) ?? []
    if (one === '*') return true
    return name !== '' && (at === '' || at === (port || '443')) && (host === name || host.endsWith(`.${name}`))
  })
}

/** A way through the proxy to one host; a name is looked up by the proxy. Rejects with a Fault that names the proxy. */
export function openTunnel(proxy: ProxySettings, host: string, port: number, timeoutMs: number): Promise<Socket> {
  const url = new URL(proxy.url)
  const to = `${host}:${port}`
  return new Promise((resolve, reject) => {
    const headers = { host: to, 'user-agent': 'hearth', ...authorization(url) }
    const place = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || '80') }
    const ask = request({ ...place, method: 'CONNECT', path: to, headers, agent: false, timeout: timeoutMs })
    const failed = (code: 'unavailable' | 'denied' | 'timeout', why: string): void => {
      ask.destroy()
      reject(new Fault(code, `the proxy ${url.host} ${why}`))
    }
    ask.once('connect', ({ statusCode = 0 }, socket: Socket, head) => {
      if (statusCode === 200 && head.length === 0) return resolve(socket)
      socket.destroy()
      if (statusCode === 407)
        failed('denied', 'wants a name and password: put them into HTTPS_PROXY, as in http://name:password@host:port')
      else failed(statusCode === 403 ? 'denied' : 'unavailable', `answers ${statusCode} where a way to ${to} was asked for`)
    })
    ask.once('response', ({ statusCode }) => failed('unavailable', `answers ${statusCode} and opens no way to ${to}`))
    ask.once('timeout', () => failed('timeout', 'does not answer'))
    ask.once('error', (e) => failed('unavailable', `cannot be reached: ${errnoOf(e) ?? e.message}`))
    ask.end()
  })
}

function authorization({ username, password }: URL): Record<string, string> {
  if (username === '') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` }
}
