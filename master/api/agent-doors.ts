import { chmod, unlink } from 'node:fs/promises'
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'

interface AgentDoorsParts {
  readonly log: Log
  /** Whoever takes agents in now; asked at each connection. */
  readonly taking: () => (socket: Socket) => void
}

interface AgentDoorsConfig {
  readonly socketPath: string
  readonly tcp: { readonly host: string; readonly port: number } | undefined
}

/** Where agents come in, whoever leads: a unix socket for root alone and, where configured, a TCP port. */
export class AgentDoors implements Service {
  readonly name = 'agent-doors'
  readonly #parts: AgentDoorsParts
  readonly #config: AgentDoorsConfig
  readonly #servers: Server[] = []

  constructor(parts: AgentDoorsParts, config: AgentDoorsConfig) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    const { socketPath, tcp } = this.#config
    await removeSocket(socketPath)
    await this.#listen({ path: socketPath })
    await chmod(socketPath, 0o600)
    if (tcp !== undefined) await this.#listen(tcp)
  }

  /** Nobody new comes in; who is in is let go by the rooms that took them. */
  async stop(): Promise<void> {
    for (const server of this.#servers) server.close()
  }

  /** Of the TCP listener, where there is one. */
  get port(): number | undefined {
    const address = this.#servers.map((s) => s.address()).find((a) => typeof a === 'object' && a !== null)
    return typeof address === 'object' ? address?.port : undefined
  }

  #listen(where: ListenOptions): Promise<void> {
    const server = createServer((socket) => this.#accept(socket))
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

  #accept(socket: Socket): void {
    socket.on('error', () => undefined) // The reading loop sees it too and tells it once.
    socket.setNoDelay(true)
    this.#parts.taking()(socket)
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
