import type { Socket } from 'node:net'
import type { Service } from '../../base/service.ts'
import type { Visitor } from '../identity/guard.ts'
import { AgentSession, type SessionConfig, type SessionParts } from './agent-session.ts'
import { ServedTime } from './served-time.ts'

/** Connections without a certificate that have not finished their handshake; more are closed at once. */
const maxStrangers = 64
const maxSessions = 20_000
const looksPerBeat = 4

/** The agents that hang on a leader, from their first byte to their last. */
export class AgentLinkServer implements Service {
  readonly name = 'agent-link'
  readonly #parts: Omit<SessionParts, 'served'>
  readonly #config: SessionConfig
  readonly #served: ServedTime
  readonly #sessions = new Map<AgentSession, Promise<void>>()
  /** Some of them serve by now. */
  readonly #strangers = new Set<AgentSession>()
  readonly #closing = new AbortController()
  #beat: Promise<void> = Promise.resolve()

  constructor(parts: Omit<SessionParts, 'served'>, config: SessionConfig) {
    this.#parts = parts
    this.#config = config
    this.#served = new ServedTime(parts.clock.monotonicMs(), 2 * (config.heartbeatMs / looksPerBeat))
  }

  async start(): Promise<void> {
    this.#beat = this.#watch()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.#closing.abort()
    const why = 'this master stops, or leads no more'
    for (const session of this.#sessions.keys()) session.leave(why)
    const cut = (): void => {
      for (const session of this.#sessions.keys()) session.close(why)
    }
    if (deadline.aborted) cut()
    deadline.addEventListener('abort', cut, { once: true })
    await Promise.all([...this.#sessions.values(), this.#beat])
    deadline.removeEventListener('abort', cut)
  }

  get sessions(): number {
    return this.#sessions.size
  }

  /** `visitor`: of a connection from another host, whose handshake is done. */
  accept(socket: Socket, visitor?: Visitor): void {
    const isCertified = visitor?.node !== undefined
    if (!isCertified) for (const one of this.#strangers) if (one.isServing) this.#strangers.delete(one)
    const strangers = this.#strangers.size
    if ((!isCertified && strangers >= maxStrangers) || this.#sessions.size >= maxSessions || this.#closing.signal.aborted) {
      this.#parts.log.warn({ sessions: this.#sessions.size, strangers }, 'agent_link.turned_away')
      socket.destroy()
      return
    }
    const session = new AgentSession(socket, { ...this.#parts, served: this.#served }, this.#config, visitor)
    if (!isCertified) this.#strangers.add(session)
    const over = (): void => {
      this.#sessions.delete(session)
      this.#strangers.delete(session)
    }
    this.#sessions.set(session, session.run().finally(over))
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    const { clock } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(this.#config.heartbeatMs / looksPerBeat, signal).catch(() => undefined) // Only the stop ends it early.
      this.#served.look(clock.monotonicMs())
      for (const session of this.#sessions.keys()) session.check()
    }
  }
}
