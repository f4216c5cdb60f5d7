import { errnoOf, type Fault, isFault } from '../base/fault.ts'
import type { Endpoint } from './endpoint.ts'
import { readJson, sendRequest } from './http.ts'
import type { NodeHealthAnswer, NodeIsolators, NodeTop } from './operator-messages.ts'

/** What a node tells of itself, over the socket of its own agent, with or without a master. */
export class AgentClient {
  readonly #endpoint: Endpoint

  constructor(socketPath: string) {
    this.#endpoint = { kind: 'socket', path: socketPath }
  }

  /** After a look at everything. */
  health(signal: AbortSignal): Promise<NodeHealthAnswer> {
    return this.#get('/v1/health?refresh=true', signal)
  }

  /** Whether a master has taken it; without a look at anything else. */
  async isRegistered(signal: AbortSignal): Promise<boolean> {
    return (await this.#get<{ readonly registered?: boolean }>('/v1/health', signal)).registered === true
  }

  top(signal: AbortSignal): Promise<NodeTop> {
    return this.#get('/v1/top', signal)
  }

  isolators(signal: AbortSignal): Promise<NodeIsolators> {
    return this.#get('/v1/isolators', signal)
  }

  /** Prometheus text, chunk by chunk. */
  async metrics(signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return await sendRequest(this.#endpoint, { method: 'GET', path: '/metrics' }, signal)
  }

  async #get<T>(path: string, signal: AbortSignal): Promise<T> {
    return (await readJson(await sendRequest(this.#endpoint, { method: 'GET', path }, signal))) as T
  }
}

/** Whether a call failed because nobody answers on the socket, rather than for what was asked. */
export const isAway = (e: unknown): e is Fault =>
  isFault(e, 'unavailable') && ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(errnoOf(e.cause) ?? '')
