import { systemClock } from '../../../base/clock.ts'
import { Fault, faultTable, isFault } from '../../../base/fault.ts'
import { systemRandom } from '../../../base/random.ts'
import { backOffMs } from '../../../base/retry.ts'
import type { Credentials } from './credentials.ts'
import { type Answer, drop, type RegistryHttp, shortBody } from './http.ts'
import { Login } from './login.ts'
import type { Patience } from './settings.ts'

const maxLogins = 2
const maxErrorBytes = 16 * 1024
const longestPauseMs = 30_000

export interface SessionParts {
  readonly http: RegistryHttp
  readonly credentials: () => Promise<Credentials | undefined>
  readonly patience: Patience
}

/** One repository at one registry, or at one of its mirrors. */
export class Session {
  readonly #parts: SessionParts
  readonly #login: Login
  /** `https://host/v2/repository/`. */
  readonly #root: URL

  constructor(parts: SessionParts, base: URL, repository: string) {
    this.#parts = parts
    this.#root = new URL(`v2/${repository}/`, base)
    this.#login = new Login(parts, base, repository, parts.patience)
  }

  get host(): string {
    return this.#root.host
  }

  /** A successful answer (200, or 206 to a Range), logged in where the registry wants it. Anything else is a Fault that says why. */
  async get(path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Answer> {
    const url = new URL(path, this.#root)
    for (let logins = 0; ; logins += 1) {
      const used = this.#login.authorization
      const call = { url, headers: { ...headers, ...(used === undefined ? {} : { authorization: used }) } }
      const answer = await this.#parts.http.send(call, signal)
      if (answer.status === 200 || answer.status === 206) return answer
      const isOwn = answer.url.origin === url.origin
      if (answer.status !== 401 || !isOwn) throw await this.#refusal(answer, path)
      if (logins === maxLogins) {
        drop(answer)
        throw new Fault('denied', `${this.host} refuses access again and again, though it was logged in to as it asked`)
      }
      await this.#login.answer(answer, used, signal)
    }
  }

  async #refusal(answer: Answer, path: string): Promise<Fault> {
    const { status, url } = answer
    const said = await saidIn(answer, this.#parts.patience)
    const what = `${url.host} answers ${status} to ${path.slice(0, 40)}${said}`
    if (status === 404) return new Fault('not-found', what)
    if (status === 401 || status === 403) return new Fault('denied', what)
    if (status === 429 || status >= 500) return new Fault('unavailable', what, retryAfter(answer))
    if (status === 416) return new Fault('unavailable', `${what}: it cannot go on in the middle`)
    return new Fault('unsupported', what)
  }
}

/** Asks again while that may help, with longer and longer pauses. */
export async function patiently<T>(patience: Patience, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (e) {
      signal.throwIfAborted()
      if (!mayPass(e) || attempt >= patience.attempts) throw e
      await pauseBefore(attempt, e, patience, signal)
    }
  }
}

/** Whether the same call may succeed later. */
export const mayPass = (e: unknown): boolean => isFault(e) && e.code !== 'exhausted' && faultTable[e.code].retryHelps

/** As long as the registry asked for, within bounds; else longer with each attempt. */
export async function pauseBefore(attempt: number, e: unknown, patience: Patience, signal: AbortSignal): Promise<void> {
  const asked = isFault(e) ? Number(e.detail['retryAfterMs'] ?? 0) : 0
  const own = backOffMs({ firstMs: patience.firstPauseMs, mostMs: longestPauseMs / 4 }, attempt - 1, systemRandom)
  await systemClock.sleep(Math.min(Math.max(own, asked), longestPauseMs), signal)
}

/** RFC 9110, section 10.2.3, in its form of seconds. */
function retryAfter({ headers }: Answer): { readonly retryAfterMs: number } | Record<string, never> {
  const text = headers['retry-after'] ?? ''
  return /^[0-9]{1,6}$/.test(text) ? { retryAfterMs: Number(text) * 1_000 } : {}
}

/** distribution-spec 1.1, "Error Codes": what people are to read of it. */
async function saidIn(answer: Answer, patience: Patience): Promise<string> {
  try {
    const body = JSON.parse((await shortBody(answer, maxErrorBytes, patience)).toString('utf8')) as { errors?: unknown }
    const [first] = Array.isArray(body.errors) ? (body.errors as readonly unknown[]) : []
    const { code, message } = (first ?? {}) as { readonly code?: unknown; readonly message?: unknown }
    const words = [code, message].filter((word) => typeof word === 'string').join(', ')
    return words === '' ? '' : ` (${words.replace(/[^\x20-\x7e]/g, '?').slice(0, 200)})`
  } catch {
    return '' // it says nothing that can be read
  }
}
