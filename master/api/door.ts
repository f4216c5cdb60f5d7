import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Fault } from '../../base/fault.ts'

const ownNames: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost'])

/**
 * Who comes over loopback must hold the token, and must have meant to come here: a web page that a name server sends to
 * 127.0.0.1 carries a foreign `Host` or `Origin`. Throws `Fault('denied')`.
 */
export function admitLoopback(headers: IncomingHttpHeaders, tokenDigest: Buffer): void {
  const host = headers.host ?? ''
  if (!ownNames.has(hostName(host))) throw new Fault('denied', 'the Host header must name 127.0.0.1, [::1] or localhost')
  const { origin } = headers
  if (origin !== undefined && !isSameOrigin(origin, host))
    throw new Fault('denied', `requests from ${clipped(origin)} are refused`)
  const [, given = ''] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? []
  if (given === '') throw new Fault('denied', 'send the token from the state directory: Authorization: Bearer TOKEN')
  if (!timingSafeEqual(digest(given), tokenDigest)) {
    throw new Fault('denied', 'the token is wrong; read the file "token" in the state directory again')
  }
}

/** Digests have one length, so that comparing takes the same time for every guess. */
export const digest = (secret: string): Buffer => createHash('sha256').update(secret).digest()

const hostName = (host: string): string => host.replace(/:\d+$/, '').toLowerCase()

function isSameOrigin(origin: string, host: string): boolean {
  try {
    return new URL(origin).host === host.toLowerCase()
  } catch {
    return false // `null` and what is no URL come from nowhere we know.
  }
}

const clipped = (text: string): string => (text.length > 100 ? `${text.slice(0, 100)}…` : text)
