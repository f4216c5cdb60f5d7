import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { LeaseGrant, LeaseRequest } from '../../proto/gen/messages.ts'
import { unfitLength } from '../../proto/lease-length.ts'
import { aborted } from '../aborted.ts'
import type { BootClock } from '../host/boot-time.ts'
import { endsAtMs, killAtMs, nextRequestMs, type Term } from './terms.ts'

/** What a lease is on: one assignment, whose attempts follow each other under it. */
export type LeaseOf = Pick<LeaseRequest, 'frameworkId' | 'taskId' | 'attempt' | 'containerId' | 'lengthMs'>

/** Why it is over; `isUrgent`: nothing is left of its time. */
export interface LeaseEnd {
  readonly message: string
  readonly isUrgent: boolean
}

export interface LeaseParts {
  readonly clock: Clock
  readonly bootClock: BootClock
  readonly log: Log
  /** Undefined while no master is there to be asked. */
  readonly send: () => ((of: LeaseOf) => number) | undefined
  /** Puts a container under this term; the watchdog knows it once this resolves. */
  readonly put: (containerId: string, term: Term) => Promise<void>
}

/** So that a grantor that never answers costs nothing. */
const mostUnanswered = 32

/** One lease: asked for, granted, renewed until it is given up, and over when it ran out under a container or was taken back. */
export class Lease {
  readonly of: LeaseOf
  readonly #parts: LeaseParts
  readonly #log: Log
  /** When each unanswered request was sent, in boot time, by its number. */
  readonly #asked = new Map<number, number>()
  readonly #covered = new Set<string>()
  readonly #over = new AbortController()
  readonly #left = new AbortController()
  #term: Term | undefined
  #wake = new AbortController()

  constructor(of: LeaseOf, parts: LeaseParts) {
    this.of = of
    this.#parts = parts
    this.#log = parts.log.child({ taskId: of.taskId, frameworkId: of.frameworkId, containerId: of.containerId })
  }

  /** Aborts when its containers must end. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  /** Of one that is over. */
  get end(): LeaseEnd {
    return this.over.reason as LeaseEnd
  }

  covers(containerId: string): boolean {
    return this.#covered.has(containerId)
  }

  /** Asks for it, and again before it ends, until it is over or `leave` is called. Never rejects. */
  async keep(): Promise<void> {
    const stopped = AbortSignal.any([this.#over.signal, this.#left.signal])
    while (!stopped.aborted) {
      const nowMs = this.#parts.bootClock.nowMs()
      if (this.#term !== undefined && nowMs >= killAtMs(this.#term)) this.#ranOut(this.#term)
      const send = this.#parts.send()
      const lastMs = [...this.#asked.values()].at(-1)
      const askMs = send === undefined ? Number.POSITIVE_INFINITY : nextRequestMs(this.#term, lastMs, this.of.lengthMs)
      if (askMs <= nowMs) this.#ask(nowMs)
      else await this.#untilMs(Math.min(askMs, this.#term === undefined ? Number.POSITIVE_INFINITY : killAtMs(this.#term)), nowMs)
    }
  }

  /** Something changed that it may wait for. */
  wake(): void {
    const woken = this.#wake
    this.#wake = new AbortController()
    woken.abort()
  }

  /** Resolves while a lease is held. Throws `Fault` with `reason: lease_refused`, or the signal's reason. */
  async granted(signal: AbortSignal): Promise<void> {
    while (!this.#isHeld) {
      this.#unlessOver()
      signal.throwIfAborted()
      await Promise.race([aborted(this.#wake.signal), aborted(signal), aborted(this.over)])
    }
  }

  /** Puts a container under it before it begins. Throws where no lease is held any more, or where it cannot be watched. */
  async arm(containerId: string): Promise<void> {
    const term = this.#term
    if (term !== undefined && this.#isHeld) {
      this.#covered.add(containerId)
      await this.#parts.put(containerId, term)
    }
    if (this.#isHeld) return
    this.#unlessOver()
    throw new Fault('unavailable', 'its lease ran out before it could begin', { reason: 'lease_expired' })
  }

  /** Takes over a container that runs, with the term that it was left with; without one it has to end. */
  async adopt(containerId: string, term: Term | undefined): Promise<void> {
    this.#covered.add(containerId)
    if (term === undefined) return this.#end({ message: 'nothing proves that its lease still holds', isUrgent: true })
    if (this.#term === undefined || endsAtMs(this.#term) < endsAtMs(term)) this.#term = term
    this.wake()
    await this.#parts.put(containerId, this.#term)
  }

  /** Nothing of the container is left. */
  release(containerId: string): void {
    this.#covered.delete(containerId)
  }

  /** The task has ended: it is asked for no more. */
  leave(): void {
    this.#left.abort()
    this.wake()
  }

  take(grant: LeaseGrant): void {
    const sentMs = this.#asked.get(grant.request)
    if (sentMs === undefined || this.over.aborted) return
    for (const request of this.#asked.keys()) if (request <= grant.request) this.#asked.delete(request)
    const refusal = grant.granted ? unfitLength(grant.lengthMs) : grant.message
    if (refusal === undefined) this.#extend({ sentMs, lengthMs: grant.lengthMs })
    else this.#refused(refusal)
  }

  #extend(term: Term): void {
    if (this.#term !== undefined && endsAtMs(term) <= endsAtMs(this.#term)) return
    // One that ran out under a container stays over: its end may be under way.
    if (this.#term !== undefined && !this.#isHeld && this.#covered.size > 0) this.#ranOut(this.#term)
    else void this.#renew(term)
  }

  #unlessOver(): void {
    if (this.over.aborted) throw new Fault('conflict', this.end.message, { reason: 'lease_refused' })
  }

  get #isHeld(): boolean {
    return this.#term !== undefined && !this.over.aborted && this.#parts.bootClock.nowMs() < killAtMs(this.#term)
  }

  /** The containers first: what they are not told of does not hold. */
  async #renew(term: Term): Promise<void> {
    try {
      await Promise.all([...this.#covered].map((containerId) => this.#parts.put(containerId, term)))
    } catch (error) {
      this.#log.error({ error }, 'lease.not_renewed')
      return
    }
    if (this.#term === undefined) this.#log.info({ lengthMs: term.lengthMs }, 'lease.granted')
    this.#term = term
    this.wake()
  }

  #ask(nowMs: number): void {
    const request = this.#parts.send()?.(this.of)
    if (request === undefined) return
    this.#asked.set(request, nowMs)
    for (const old of this.#asked.keys()) if (this.#asked.size > mostUnanswered) this.#asked.delete(old)
  }

  #ranOut(term: Term): void {
    this.#term = undefined
    if (this.#covered.size > 0) this.#end({ message: ranOutMessage(term), isUrgent: true })
  }

  /** What runs under it has the rest of the term to end. */
  #refused(why: string): void {
    const isFirst = this.#term === undefined
    this.#end({ message: `${isFirst ? 'no lease was granted' : 'its lease was taken back'}: ${why}`, isUrgent: isFirst })
  }

  #end(end: LeaseEnd): void {
    this.#log.warn({ ...end }, 'lease.over')
    this.#over.abort(end)
    this.wake()
  }

  async #untilMs(atMs: number, nowMs: number): Promise<void> {
    const { signal } = this.#wake
    // /proc/uptime counts in 10 ms: a little later than the time is not before it.
    const sleepMs = Math.min(atMs - nowMs + 10, 60_000)
    await this.#parts.clock.sleep(sleepMs, AbortSignal.any([signal, this.#left.signal, this.over])).catch(() => undefined) // woken
  }
}

export const ranOutMessage = ({ lengthMs }: Pick<Term, 'lengthMs'>): string =>
  `its lease ran out: no master renewed it for ${lengthMs / 1_000} s`
