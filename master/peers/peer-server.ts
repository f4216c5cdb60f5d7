import { connect, type Server, type Socket } from 'node:net'
import { Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { encodeFrame, type Frame, FrameDecoder } from '../../proto/frame.ts'
import type { Message } from '../raft/message.ts'
import { type PeerChannel, plainChannel, type ShownCertificate } from './peer-channel.ts'
import { decodePeerMessage } from './peer-codec.ts'
import {
  checkHello,
  encodeHello,
  frameTypes,
  maxPeerFrameBytes,
  type PeerIdentity,
  type TunnelPurpose
} from './peer-handshake.ts'

interface ServerParts {
  readonly log: Log
  readonly identity: PeerIdentity
  readonly receive: (m: Message) => void
  readonly onGoodbye: (raftId: number) => void
  /** Who came says where it is reached. */
  readonly onHello?: (raftId: number, address: string) => void
  /** The unix sockets behind the tunnels; without them none is opened. */
  readonly tunnels?: Readonly<Record<TunnelPurpose, string>>
  readonly channel?: PeerChannel
  /** Of a member, where it is known: the one whose certificate has to be shown. */
  readonly nodeIdOf?: (raftId: number) => string | undefined
}

const handshakeMs = 2_000
const maxConnections = 64
const maxTunnels = 20_000
/** A state larger than this does not fit the memory of a master either. */
const maxSnapshotBytes = 2 ** 31

/** Where other masters deliver their messages. What does not belong is refused with a reason, and never reaches the core. */
export class PeerServer {
  readonly #parts: ServerParts
  readonly #sockets = new Map<Socket, ShownCertificate | undefined>()
  readonly #tunnels = new Map<Socket, ShownCertificate | undefined>()
  #server: Server | undefined

  constructor(parts: ServerParts) {
    this.#parts = parts
  }

  /** Resolves with the port. */
  listen(host: string, port: number): Promise<number> {
    const { channel = plainChannel } = this.#parts
    const server = channel.createServer((socket, shown) => this.#accept(socket, shown))
    this.#server = server
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        const address = server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : port)
      })
    })
  }

  async close(): Promise<void> {
    for (const socket of [...this.#sockets.keys(), ...this.#tunnels.keys()]) socket.destroy()
    await new Promise<void>((resolve) => {
      if (this.#server === undefined) resolve()
      else this.#server.close(() => resolve())
    })
  }

  /** Cuts every connection whose certificate has become void. */
  recheck(): void {
    for (const [socket, shown] of [...this.#sockets, ...this.#tunnels]) {
      if (shown === undefined || shown.isGood()) continue
      this.#parts.log.warn({ nodeId: shown.nodeId, from: socket.remoteAddress }, 'peer.connection_cut')
      socket.destroy()
    }
  }

  #accept(socket: Socket, shown?: ShownCertificate): void {
    socket.on('error', () => undefined) // 'close' comes too and is enough.
    if (this.#sockets.size >= maxConnections) {
      socket.destroy()
      return
    }
    this.#sockets.set(socket, shown)
    socket.setNoDelay(true)
    socket.setTimeout(handshakeMs, () => socket.destroy())
    const inbound = new Inbound(socket, this.#parts, { nodeId: shown?.nodeId, dig: (path) => this.#dig(socket, path) })
    socket.on('data', (chunk) => inbound.take(chunk))
    socket.on('close', () => this.#sockets.delete(socket))
  }

  /** From the hello on the connection belongs to whoever listens at that path. */
  #dig(socket: Socket, path: string): void {
    const shown = this.#sockets.get(socket)
    this.#sockets.delete(socket)
    if (this.#tunnels.size >= maxTunnels) {
      socket.destroy()
      return
    }
    const inner = connect(path)
    this.#tunnels.set(socket, shown)
    socket.removeAllListeners('data')
    const end = (): void => {
      this.#tunnels.delete(socket)
      socket.destroy()
      inner.destroy()
    }
    inner.on('error', end)
    inner.once('close', end)
    socket.once('close', end)
    socket.pipe(inner).pipe(socket)
  }
}

/** One connection of another master, from its handshake to its end. */
class Inbound {
  readonly #socket: Socket
  readonly #parts: ServerParts
  readonly #dig: (path: string) => void
  /** The node of its certificate; undefined in clear. */
  readonly #certified: string | undefined
  readonly #decoder = new FrameDecoder(maxPeerFrameBytes)
  /** 0 before the handshake. */
  #peer = 0
  #snapshot: { readonly message: Message; readonly bytes: Buffer; have: number } | undefined

  constructor(
    socket: Socket,
    parts: ServerParts,
    { nodeId, dig }: { readonly nodeId: string | undefined; readonly dig: (path: string) => void }
  ) {
    this.#socket = socket
    this.#parts = parts
    this.#certified = nodeId
    this.#dig = dig
  }

  take(chunk: Uint8Array): void {
    try {
      for (const frame of this.#decoder.push(chunk)) this.#frame(frame)
    } catch (error) {
      if (!isFault(error)) throw error
      this.#parts.log.warn({ peer: this.#peer, from: this.#socket.remoteAddress, reason: error.message }, 'peer.refused')
      this.#socket.destroy()
    }
  }

  #frame({ type, body }: Frame): void {
    if (this.#peer === 0) this.#greet(type, body)
    else if (type === frameTypes.message) this.#message(body)
    else if (type === frameTypes.snapshotPart) this.#part(body)
    else if (type === frameTypes.goodbye) this.#parts.onGoodbye(this.#peer)
  }

  #greet(type: number, body: Uint8Array): void {
    const { identity, tunnels } = this.#parts
    const hello = checkHello(type === frameTypes.hello ? body : new Uint8Array(), identity, 0)
    this.#checkCertified(hello.raftId)
    this.#peer = hello.raftId
    this.#socket.setTimeout(0)
    this.#parts.onHello?.(hello.raftId, hello.address)
    const { purpose } = hello
    const path = purpose === 'api' || purpose === 'agents' ? tunnels?.[purpose] : undefined
    this.#socket.write(encodeFrame(frameTypes.hello, encodeHello(identity, hello.raftId)))
    if (path !== undefined) this.#dig(path)
    else if (purpose !== '' && purpose !== 'invite') this.#socket.destroy()
  }

  /** A member that this master does not know yet has a certificate of a master all the same. */
  #checkCertified(raftId: number): void {
    const known = this.#parts.nodeIdOf?.(raftId)
    if (this.#certified === undefined || known === undefined || known === '' || known === this.#certified) return
    throw new Fault('denied', `node ${this.#certified} says that it is master ${raftId}, which is node ${known}`)
  }

  #message(body: Uint8Array): void {
    const { message, snapshotBytes } = decodePeerMessage(body)
    // A peer speaks for itself alone; what it relays carries its own id as well.
    if (message.to !== this.#parts.identity.raftId) return
    if (message.snapshot === undefined) this.#parts.receive(message)
    else if (snapshotBytes <= maxSnapshotBytes) this.#snapshot = { message, bytes: Buffer.allocUnsafe(snapshotBytes), have: 0 }
    else this.#socket.destroy()
  }

  #part(body: Uint8Array): void {
    const snapshot = this.#snapshot
    if (snapshot?.message.snapshot === undefined) return
    // One that is longer than it was said to be is cut off, and found damaged.
    snapshot.bytes.set(body.subarray(0, snapshot.bytes.length - snapshot.have), snapshot.have)
    snapshot.have += body.length
    if (snapshot.have < snapshot.bytes.length) return
    this.#snapshot = undefined
    const data = snapshot.bytes
    this.#parts.receive({ ...snapshot.message, snapshot: { ...snapshot.message.snapshot, data } })
    this.#socket.write(encodeFrame(frameTypes.snapshotTaken, new Uint8Array()))
  }
}
