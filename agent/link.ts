import { connect, type Socket } from 'node:net'
import { Fault, isFaultCode } from '../base/fault.ts'
import type { Credentials } from '../identity/credentials.ts'
import type { Init } from '../proto/codec.ts'
import { FrameDecoder } from '../proto/frame.ts'
import type { Hello, Messages, Welcome } from '../proto/gen/messages.ts'
import { decodeWire, encodeWire, type WireMessage, type WireName } from '../proto/wire.ts'

const handshakeMs = 5_000
/** A master that does not read is not worth more than this. */
const maxUnsentBytes = 16 * 1024 * 1024

/** One connection to a master, after its welcome. */
export interface MasterConnection {
  readonly welcome: Welcome
  /** Frames are sent in the order of the calls. Nothing is sent on a closed connection. */
  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void
  close(): void
  /** Aborts with the reason when the connection has ended, whoever ended it. */
  readonly closed: AbortSignal
}

interface Dialled {
  readonly socket: Socket
  /** The event after which something may be said. */
  readonly ready: 'connect' | 'secureConnect'
  /** What an error of the socket means. */
  readonly faultOf: (e: Error) => Fault
}

/** `unix:/path`, `tcp:host:port` on loopback, or `tls:host:port`, for which the node needs its certificate. */
export async function dial(address: string, credentials: () => Promise<Credentials | undefined>): Promise<Dialled> {
  const faultOf = (cause: Error): Fault => new Fault('unavailable', `no master at ${address}: ${cause.message}`, {}, cause)
  if (address.startsWith('unix:')) return { socket: connect(address.slice('unix:'.length)), ready: 'connect', faultOf }
  const [, kind, host = '', port = ''] = /^(tcp|tls):\[?([^\]]+?)\]?:(\d+)$/.exec(address) ?? []
  if (kind === undefined) throw new Fault('invalid', `${address} is no address; write unix:/path, tls:host:port or tcp:host:port`)
  const place = { host, port: Number(port), noDelay: true }
  if (kind === 'tcp') return { socket: connect(place), ready: 'connect', faultOf }
  const own = await credentials()
  if (own === undefined) throw new Fault('denied', `${address} wants a certificate: hearth agent join HOST --token T`)
  // TLS costs memory that a node of a single-host cluster does not spend.
  const { channelFault, masterOf, protocols, secureClient } = await import('../identity/secure-channel.ts')
  const under = connect(place)
  const socket = secureClient(under, own, protocols.agentLink, masterOf(own.name.clusterId))
  // What keeps the connection from being made is told by the socket below.
  under.on('error', (e) => socket.destroy(e))
  return { socket, ready: 'secureConnect', faultOf: (e) => channelFault(e, address) }
}

/**
 * Dials, says hello and waits for the welcome. `onMessage` gets everything after it, in order, `receivedNs` being the
 * monotonic time at which its last byte arrived. Rejects with the master's refusal as a Fault, or `unavailable`.
 */
export async function connectMaster(
  { address, credentials }: { readonly address: string; readonly credentials: () => Promise<Credentials | undefined> },
  hello: Init<Hello>,
  onMessage: (message: WireMessage, receivedNs: bigint) => void,
  signal: AbortSignal
): Promise<MasterConnection> {
  const { socket, ready, faultOf } = await dial(address, credentials)
  const closed = new AbortController()
  const decoder = new FrameDecoder()
  const end = (why: Error): void => {
    socket.destroy()
    closed.abort(why)
  }
  const send = <K extends WireName>(kind: K, message: Init<Messages[K]>): void => {
    if (closed.signal.aborted) return
    socket.write(encodeWire(kind, message))
    if (socket.writableLength > maxUnsentBytes) end(new Fault('unavailable', 'the master does not read'))
  }
  const stop = (): void => end(signal.reason as Error)
  signal.addEventListener('abort', stop, { once: true })
  closed.signal.addEventListener('abort', () => signal.removeEventListener('abort', stop), { once: true })

  return new Promise((resolve, reject) => {
    let welcomed = false
    const timer = setTimeout(() => end(new Fault('timeout', `${address} did not answer the hello`)), handshakeMs)
    closed.signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(closed.signal.reason as Error)
    })
    const greet = (message: WireMessage): void => {
      if (message.kind === 'Welcome') {
        welcomed = true
        clearTimeout(timer)
        const close = (): void => end(new Fault('unavailable', 'closed by this side'))
        resolve({ welcome: message.message, send, close, closed: closed.signal })
      } else end(refusalOf(address, message))
    }
    socket.once(ready, () => send('Hello', hello))
    socket.on('data', (chunk: Buffer) => {
      const receivedNs = process.hrtime.bigint()
      try {
        for (const frame of decoder.push(chunk)) {
          const message = decodeWire(frame)
          if (welcomed) onMessage(message, receivedNs)
          else greet(message)
        }
      } catch (e) {
        end(e as Error)
      }
    })
    socket.on('error', (e) => end(faultOf(e)))
    socket.once('close', () => end(new Fault('unavailable', `${address} closed the connection`)))
    // Last, when somebody hears of it: an agent that is asked to stop while it dials must not wait for ever.
    if (signal.aborted) stop()
  })
}

function refusalOf(address: string, message: WireMessage): Fault {
  if (message.kind !== 'Refusal') return new Fault('corrupt', `${address} answered a hello with ${message.kind}`)
  const { code, message: why } = message.message
  return new Fault(isFaultCode(code) ? code : 'denied', why)
}
