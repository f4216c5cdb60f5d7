import { createServer as createListener, type Server as Listener } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import type { Credentials } from '../../identity/credentials.ts'
import { contextOf, protocols } from '../../identity/secure-channel.ts'
import type { ListenAddress } from '../config.ts'
import type { ClusterState } from '../state/cluster.ts'
import { Arrivals } from './arrivals.ts'
import { checkNode, type Visitor, visitorOf } from './guard.ts'

interface DoorParts {
  readonly state: Pick<ClusterState, 'nodeIdentities'>
  readonly log: Log
  /** Gets connections whose handshake is done, by what they want to speak. */
  readonly agents: (socket: TLSSocket, visitor: Visitor) => void
  readonly http: (socket: TLSSocket, visitor: Visitor) => void
}

interface DoorConfig {
  readonly clusterId: string
  readonly listen: ListenAddress
}

const handshakeMs = 5_000
const handshakes = { perTurn: 8, atOnce: 24, slowMs: 1_000, underWayMost: 512, waitingMost: 16_384, patienceMs: handshakeMs }
/** Connections without a certificate of a node: operators, newcomers, strangers. */
const maxUncertified = 1_024

/** The door that other hosts can reach: TLS 1.3 alone. Who comes in without a good certificate is heard, and refused by what is behind. */
export class TlsDoor implements Service {
  readonly name = 'tls-door'
  readonly #parts: DoorParts
  readonly #config: DoorConfig
  readonly #open = new Map<TLSSocket, Visitor>()
  readonly #credentials: () => Credentials
  #uncertified = 0
  /** Never listens itself: what arrives is handed to it in turns. */
  #server: Server | undefined
  #listener: Listener | undefined
  #arrivals: Arrivals | undefined

  constructor(parts: DoorParts, config: DoorConfig, credentials: () => Credentials) {
    this.#parts = parts
    this.#config = config
    this.#credentials = credentials
  }

  start(): Promise<void> {
    const { host, port } = this.#config.listen
    const server = createServer(
      {
        ...this.#context(),
        ALPNProtocols: [protocols.agentLink, protocols.http],
        handshakeTimeout: handshakeMs,
        requestCert: true,
        // A reason is told to whoever is refused, so that has to wait until there is a channel to tell it over.
        rejectUnauthorized: false
      },
      (socket) => this.#accept(socket)
    )
    const arrivals = new Arrivals((socket) => server.emit('connection', socket), handshakes)
    server.on('tlsClientError', (e, socket) => {
      this.#parts.log.info({ from: socket.remoteAddress, err: e.message }, 'door.handshake_failed')
      arrivals.greeted(socket)
      socket.destroy()
    })
    const listener = createListener({ pauseOnConnect: true }, (socket) => arrivals.arrived(socket))
    this.#server = server
    this.#listener = listener
    this.#arrivals = arrivals
    return new Promise((resolve, reject) => {
      listener.once('error', reject)
      listener.listen({ host, port }, () => {
        listener.off('error', reject)
        listener.on('error', (e) => this.#parts.log.error({ err: e.message }, 'door.listener_failed'))
        resolve()
      })
    })
  }

  async stop(): Promise<void> {
    const listener = this.#listener
    if (listener === undefined) return
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
    for (const socket of this.#open.keys()) socket.destroy()
    this.#arrivals?.destroyAll()
    await closed
  }

  /** Undefined where it is not open. */
  get port(): number | undefined {
    const address = this.#listener?.address()
    return typeof address === 'object' && address !== null ? address.port : undefined
  }

  /** New connections see the new certificate; those that there are go on. */
  credentialsChanged(): void {
    this.#server?.setSecureContext(this.#context())
  }

  /** Cuts every connection whose certificate has become void; of that node alone where one is named. */
  recheck(nodeId?: string): void {
    for (const [socket, { node }] of this.#open) {
      if (node === undefined || (nodeId !== undefined && node.nodeId !== nodeId)) continue
      try {
        checkNode(node, this.#parts.state)
      } catch (e) {
        this.#parts.log.warn({ nodeId: node.nodeId, err: (e as Error).message }, 'door.connection_cut')
        socket.destroy()
      }
    }
  }

  /** Every node comes in anew. */
  cutNodes(): void {
    for (const [socket, { node }] of this.#open) if (node !== undefined) socket.destroy()
  }

  #accept(socket: TLSSocket): void {
    socket.on('error', () => undefined) // The reading side sees it too and tells it once.
    this.#arrivals?.greeted(socket)
    const visitor = visitorOf(socket, this.#parts.state, this.#config.clusterId)
    if (visitor.refusal !== undefined) {
      this.#parts.log.warn({ from: visitor.from, err: visitor.refusal.message }, 'door.certificate_refused')
    }
    if (visitor.node === undefined && this.#uncertified >= maxUncertified) {
      this.#parts.log.warn({ from: visitor.from }, 'door.turned_away')
      socket.destroy()
      return
    }
    this.#uncertified += visitor.node === undefined ? 1 : 0
    this.#open.set(socket, visitor)
    socket.once('close', () => {
      this.#uncertified -= visitor.node === undefined ? 1 : 0
      this.#open.delete(socket)
    })
    if (socket.alpnProtocol === protocols.agentLink) this.#parts.agents(socket, visitor)
    else this.#parts.http(socket, visitor)
  }

  /** All authorities go along: a newcomer knows only the digest of one. */
  #context() {
    const credentials = this.#credentials()
    const { certificate, authorities } = credentials
    return { ...contextOf(credentials), cert: `${certificate}\n${authorities}` }
  }
}
