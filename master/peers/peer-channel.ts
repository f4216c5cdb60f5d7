import { connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createSecureServer, type TLSSocket } from 'node:tls'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { type Credentials, serialOf, validityOf } from '../../identity/credentials.ts'
import { nameIn } from '../../identity/name.ts'
import { placeText } from '../../identity/places.ts'
import { channelFault, contextOf, masterOf, protocols, secureClient } from '../../identity/secure-channel.ts'

interface Place {
  readonly host: string
  readonly port: number
}

/** Which node’s certificate the other side has shown, and whether that is good still. */
export interface ShownCertificate {
  readonly nodeId: string
  isGood(): boolean
}

/** What carries the frames between masters. */
export interface PeerChannel {
  /** Resolves when bytes may be sent. Rejects with the errno of the socket, a `Fault`, or the signal's reason. */
  connect(to: Place, signal: AbortSignal): Promise<Socket>
  /** A server that is not listening yet. Nothing is shown in clear. */
  createServer(accept: (socket: Socket, shown?: ShownCertificate) => void): Server
}

/** In clear: for loopback alone, and for hosts of tests. */
export const plainChannel: PeerChannel = {
  connect: (to, signal) => ready(connect(to), 'connect', signal),
  createServer: (accept) => createServer((socket) => accept(socket))
}

interface SecureParts {
  /** Asked at each connection: they are renewed meanwhile. */
  readonly credentials: () => Credentials
  /** Whether a certificate is still good (master/identity/guard.ts). */
  readonly isGood: (nodeId: string, serial: string, fromMs: number) => boolean
  readonly log: Log
}

/** TLS 1.3, both sides with certificates of masters of this cluster. */
export const secureChannel = ({ credentials, isGood, log }: SecureParts): PeerChannel => ({
  async connect(to, signal) {
    const own = credentials()
    const under = connect(to)
    const check = masterOf(own.name.clusterId)
    const socket = secureClient(under, own, protocols.peers, (name) => check(name))
    under.on('error', (e) => socket.destroy(e))
    try {
      await ready(socket, 'secureConnect', signal)
      if (shownBy(socket, own.name.clusterId, isGood) !== undefined) return socket
      socket.destroy()
      throw new Fault('denied', 'its certificate is void: it was removed from the cluster')
    } catch (e) {
      // What the kernel says is for the caller to judge: a port that refuses means that the process has ended.
      throw isOfKernel(e) ? e : channelFault(e, placeText(to))
    }
  },
  createServer(accept) {
    const { clusterId } = credentials().name
    const options = { ...contextOf(credentials()), ALPNProtocols: [protocols.peers], requestCert: true, handshakeTimeout: 5_000 }
    const server = createSecureServer({ ...options, rejectUnauthorized: true }, (socket) => {
      const shown = shownBy(socket, clusterId, isGood)
      if (shown !== undefined) return accept(socket, shown)
      log.warn({ from: socket.remoteAddress }, 'peer.certificate_refused')
      socket.destroy()
    })
    let shown = credentials()
    // A server asks nobody at its handshakes: before each of them it gets what there is by now.
    server.on('connection', () => {
      const now = credentials()
      if (now !== shown) server.setSecureContext(contextOf(now))
      shown = now
    })
    server.on('tlsClientError', (e, socket) => {
      log.info({ from: socket.remoteAddress, err: e.message }, 'peer.handshake_failed')
      socket.destroy()
    })
    return server
  }
})

const isOfKernel = (e: unknown): boolean => /^E[A-Z0-9]+$/.test(errnoOf(e) ?? '')

function shownBy(socket: TLSSocket, clusterId: string, isGood: SecureParts['isGood']): ShownCertificate | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  try {
    const name = nameIn(certificate)
    masterOf(clusterId)(name)
    const { nodeId } = name
    const [serial, { fromMs }] = [serialOf(certificate), validityOf(certificate)]
    return isGood(nodeId, serial, fromMs) ? { nodeId, isGood: () => isGood(nodeId, serial, fromMs) } : undefined
  } catch (e) {
    if (e instanceof Fault) return undefined
    throw e
  }
}

function ready(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<Socket> {
  const stop = (): void => void socket.destroy()
  signal.addEventListener('abort', stop, { once: true })
  socket.once('close', () => signal.removeEventListener('abort', stop))
  // An error may be told by both sockets of a channel: the first decides, and 'close' comes too.
  socket.on('error', () => undefined)
  return new Promise((resolve, reject) => {
    const closed = (): void =>
      reject(signal.aborted ? (signal.reason as Error) : new Fault('unavailable', 'the connection was closed'))
    socket.once('error', reject)
    socket.once('close', closed)
    socket.once(event, () => {
      signal.removeEventListener('abort', stop)
      socket.off('error', reject)
      socket.off('close', closed)
      resolve(socket)
    })
    if (signal.aborted) stop()
  })
}
