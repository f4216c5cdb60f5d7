import { Fault } from '../../../base/fault.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { Credentials } from './credentials.ts'
import { type Answer, drop, isLoopback, type RegistryHttp, shortBody } from './http.ts'
import type { Patience } from './settings.ts'

const maxTokenBytes = 256 * 1024

interface LoginParts {
  readonly http: RegistryHttp
  /** Asked once, and only where the registry wants to know. */
  readonly credentials: () => Promise<Credentials | undefined>
}

/**
 * What one registry wants to be told before it opens one repository: nothing, a name and password, or a token that its token service
 * gives (distribution's token and oauth2 specifications).
 */
export class Login {
  readonly #parts: LoginParts
  readonly #base: URL
  readonly #repository: string
  readonly #patience: Patience
  #known: Promise<Credentials | undefined> | undefined
  #underway: Promise<string> | undefined
  authorization: string | undefined

  constructor(parts: LoginParts, base: URL, repository: string, patience: Patience) {
    this.#parts = parts
    this.#base = base
    this.#repository = repository
    this.#patience = patience
  }

  /** Answers a 401. Several calls that were refused together log in once. `used` is what the refused call had sent. */
  async answer(refused: Answer, used: string | undefined, signal: AbortSignal): Promise<void> {
    const header = refused.headers['www-authenticate'] ?? ''
    drop(refused)
    if (this.authorization !== used) return
    this.#underway ??= this.#authorize(parseChallenges(header), signal).finally(() => {
      this.#underway = undefined
    })
    this.authorization = await this.#underway
  }

  async #authorize(challenges: readonly Challenge[], signal: AbortSignal): Promise<string> {
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    this.#known ??= this.#parts.credentials()
    const credentials = await this.#known
    if (bearer !== undefined) return `Bearer ${await this.#token(bearer, credentials, signal)}`
    if (!challenges.some(({ scheme }) => scheme === 'basic'))
      throw new Fault('denied', `${this.#base.host} refuses access and names no way to log in that is known here`)
    if (credentials === undefined) throw this.#wantsCredentials()
    if (!('username' in credentials))
      throw new Fault('denied', `${this.#base.host} wants a name and password, and config.json has a token for it`)
    return basic(credentials)
  }

  async #token({ parameters }: Challenge, credentials: Credentials | undefined, signal: AbortSignal): Promise<string> {
    const realm = this.#realm(parameters.get('realm') ?? '', credentials)
    const service = parameters.get('service') ?? ''
    const scope = parameters.get('scope') || `repository:${this.#repository}:pull`
    const answer = await this.#ask(realm, { service, scope }, credentials, signal)
    if (answer.status === 401 || answer.status === 403) {
      drop(answer)
      if (credentials === undefined) throw this.#wantsCredentials()
      throw new Fault(
        'denied',
        `${realm.host} refuses the credentials that this node has for ${this.#base.host}: docker login anew`
      )
    }
    if (answer.status !== 200) {
      drop(answer)
      const code = answer.status >= 500 || answer.status === 429 ? 'unavailable' : 'denied'
      throw new Fault(code, `${realm.host}, which gives tokens for ${this.#base.host}, answers with status ${answer.status}`)
    }
    return tokenIn(await shortBody(answer, maxTokenBytes, this.#patience), realm)
  }

  #ask(
    realm: URL,
    { service, scope }: { readonly service: string; readonly scope: string },
    credentials: Credentials | undefined,
    signal: AbortSignal
  ): Promise<Answer> {
    if (credentials !== undefined && 'identityToken' in credentials) {
      const fields = {
        grant_type: 'refresh_token',
        service,
        scope,
        client_id: 'hearth',
        refresh_token: credentials.identityToken
      }
      return this.#parts.http.send(
        { url: realm, headers: {}, method: 'POST', form: new URLSearchParams(fields).toString() },
        signal
      )
    }
    const url = new URL(realm)
    if (service !== '') url.searchParams.set('service', service)
    url.searchParams.set('scope', scope)
    const headers: Record<string, string> = credentials === undefined ? {} : { authorization: basic(credentials) }
    return this.#parts.http.send({ url, headers }, signal)
  }

  /** A registry without TLS may have been answered for by anybody: it cannot send our credentials to another host. */
  #realm(text: string, credentials: Credentials | undefined): URL {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '')
      throw new Fault('denied', `${this.#base.host} names no usable token service: ${JSON.stringify(text.slice(0, 80))}`)
    const isOwn = url.hostname === this.#base.hostname || (isLoopback(url.hostname) && isLoopback(this.#base.hostname))
    if (credentials !== undefined && this.#base.protocol === 'http:' && !isOwn)
      throw new Fault(
        'denied',
        `${this.#base.host}, spoken to without TLS, wants its credentials sent to ${url.host}: they stay here`
      )
    return url
  }

  #wantsCredentials(): Fault {
    const host = this.#base.host
    return new Fault(
      'denied',
      `${host} opens ${this.#repository} to nobody without credentials, if it has it at all: check the name, or docker login ${host} on the node`
    )
  }
}

const basic = (credentials: Extract<Credentials, { username: string }>): string =>
  `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`

function tokenIn(body: Buffer, realm: URL): string {
  const answer = parsed(body)
  const token = answer['token'] ?? answer['access_token']
  // What comes from elsewhere must not put lines of its own into our headers.
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
    throw new Fault('denied', `${realm.host} answers without a token`)
  return token
}

function parsed(body: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {} // the caller says what is missing
  }
}
