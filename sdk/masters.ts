import type { IncomingMessage } from 'node:http'
import { type Clock, systemClock } from '../base/clock.ts'
import { errnoOf, isFault } from '../base/fault.ts'
import { systemRandom } from '../base/random.ts'
import type { Endpoint } from './endpoint.ts'
import { type HttpRequest, sendRequest } from './http.ts'

/** Longer than masters take to find another leader. */
const patienceMs = 10_000
const pauseMs = 100

type Failure = 'nobody there' | 'not the leader' | 'broken off' | 'other'

/** Sends requests to whichever of several masters answers; the one that did is asked first the next time. */
export class Masters {
  readonly #endpoints: readonly Endpoint[]
  readonly #clock: Clock
  #next = 0

  constructor(endpoints: readonly Endpoint[], clock: Clock = systemClock) {
    this.#endpoints = endpoints
    this.#clock = clock
  }

  /**
   * As `sendRequest`. A request is repeated, elsewhere or later, where it cannot have had an effect: nobody was there, the master did
   * not lead, or it only reads. What else breaks off is told, since nobody knows what became of it.
   */
  async send(request: HttpRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const until = this.#clock.monotonicMs() + patienceMs
    for (let tries = 1, isGoingOn = false; ; tries += 1) {
      try {
        return await sendRequest(this.#endpoint, request, signal)
      } catch (e) {
        const failure = failureOf(e, request)
        // A master that was there a moment ago may come back; where there never was one, nobody waits.
        isGoingOn ||= failure !== 'nobody there'
        const isOver = isGoingOn ? this.#clock.monotonicMs() >= until : tries >= this.#endpoints.length
        if (failure === 'other' || isOver) throw e
        this.#next += 1
        if (isGoingOn) await this.#clock.sleep(pauseMs / 2 + systemRandom.between(0, pauseMs), signal)
      }
    }
  }

  get #endpoint(): Endpoint {
    const endpoint = this.#endpoints[this.#next % this.#endpoints.length]
    if (endpoint === undefined) throw new Error('no master was named')
    return endpoint
  }
}

function failureOf(e: unknown, { method, body }: HttpRequest): Failure {
  // What has been read of a stream cannot be sent again.
  if (!isFault(e) || (body !== undefined && !(body instanceof Uint8Array))) return 'other'
  if (e.code === 'not-leader') return 'not the leader'
  const errno = errnoOf(e.cause)
  if (errno === 'ECONNREFUSED' || errno === 'ENOENT') return 'nobody there'
  return (errno === 'ECONNRESET' || errno === 'EPIPE') && method === 'GET' ? 'broken off' : 'other'
}
