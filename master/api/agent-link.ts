import { chmod, unlink } from 'node:fs/promises'
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { errnoOf } from '../../base/fault.ts'
import type { Service } from '../../base/service.ts'
import type { Visitor } from '../identity/guard.ts'
import { AgentSession, type SessionConfig, type SessionParts } from './agent-session.ts'

export interface AgentLinkConfig extends SessionConfig {
  readonly socketPath: string
  readonly tcp: { readonly host: string; readonly port: number } | undefined
}

/** Connections that have not finished their handshake; more are closed at once. */
const maxStrangers = 64
const maxSessions = 20_000

/** The door for agents: a unix socket for root alone and, where configured, a TCP port. */
export class AgentLinkServer implements Service {
  readonly name = 'agent-link'
  readonly #parts: SessionParts
  readonly #config: AgentLinkConfig
  readonly #servers: Server[] = []
  readonly #sessions = new Map<AgentSession, Promise<void>>()
  readonly #closing = new AbortController()
  #beat: Promise<void> = Promise.resolve()

  constructor(parts: SessionParts, config: AgentLinkConfig) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    const { socketPath, tcp } = this.#config
    await removeSocket(socketPath)
    await this.#listen({ path: socketPath })
    await chmod(socketPath, 0o600)
    if (tcp !== undefined) await this.#listen(tcp)
    this.#beat = this.#watch()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.#closing.abort()
    for (const server of this.#servers) server.close()
    for (const session of this.#sessions.keys()) session.leave('the master stops')
    const cut = (): void => {
      for (const session of this.#sessions.keys()) session.close('the master stops')
    }
    if (deadline.aborted) cut()
    deadline.addEventListener('abort', cut, { once: true })
    await Promise.all([...this.#sessions.values(), this.#beat])
    deadline.removeEventListener('abort', cut)
  }

  /** Of the TCP listener, where there is one. */
  get port(): number | undefined {
    const address = this.#servers.map((s) => s.address()).find((a) => typeof a === 'object' && a !== null)
    return typeof address === 'object' ? address?.port : undefined
  }

  get sessions(): number {
    return this.#sessions.size
  }

  #listen(where: ListenOptions): Promise<void> {
    const server = createServer((socket) => this.accept(socket))
    this.#servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(where, () => {
        server.off('error', reject)
        server.on('error', (e) => this.#parts.log.error({ err: e.message }, 'agent_link.listener_failed'))
        resolve()
      })
    })
  }

  /** A connection from another host, whose handshake is done. */
  accept(socket: Socket, visitor?: Visitor): void {
    socket.on('error', () => undefined) // The reading loop sees it too and tells it once.
    const strangers = [...this.#sessions.keys()].filter((s) => !s.isServing).length
    if (strangers >= maxStrangers || this.#sessions.size >= maxSessions || this.#closing.signal.aborted) {
      this.#parts.log.warn({ sessions: this.#sessions.size, strangers }, 'agent_link.turned_away')
      socket.destroy()
      return
    }
    socket.setNoDelay(true)
    const session = new AgentSession(socket, this.#parts, this.#config, visitor)
    this.#sessions.set(
      session,
      session.run().finally(() => this.#sessions.delete(session))
    )
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    const { clock } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(this.#config.heartbeatMs, signal).catch(() => undefined) // Only the stop ends it early.
      const nowMs = clock.monotonicMs()
      for (const session of this.#sessions.keys()) session.check(nowMs)
    }
  }
}

/** A socket file that a killed process left behind. */
export async function removeSocket(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (e) {
    if (errnoOf(e) !== 'ENOENT') throw e
  }
}
