import type { Socket } from 'node:net'
import { within } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import { encodeMessage } from '../../proto/codec.ts'
import { encodeFrame, encodeFrameBefore, FrameDecoder } from '../../proto/frame.ts'
import type { PeerHello } from '../../proto/gen/messages.ts'
import { plainChannel } from './peer-channel.ts'
import type { EncodedMessage } from './peer-codec.ts'
import { checkHello, encodeHello, frameTypes, maxPeerFrameBytes, type PeerIdentity } from './peer-handshake.ts'

export interface PeerAddress {
  readonly raftId: number
  readonly host: string
  readonly port: number
}

/** Beyond this much that the kernel has not taken, messages are dropped: the core repeats what matters. */
const maxBufferedBytes = 32 * 1024 * 1024
const handshakeMs = 2_000

/** One connection to another master, on which this one alone speaks. */
export class PeerLink {
  readonly #socket: Socket
  /** Of the process at the other end. */
  readonly incarnation: string
  /** The highest that its build knows. */
  readonly featureLevel: number
  readonly ended: Promise<void>

  private constructor(socket: Socket, { incarnation, featureLevel }: PeerHello) {
    this.#socket = socket
    this.incarnation = incarnation
    this.featureLevel = featureLevel
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()))
  }

  /** Resolves when the handshake is done. Rejects with the errno of the socket, or a `Fault`. */
  static async open(own: PeerIdentity, peer: PeerAddress, signal: AbortSignal, channel = plainChannel): Promise<PeerLink> {
    const check = (body: Uint8Array): PeerHello => checkHello(body, own, peer.raftId)
    const { socket, hello } = await dialPeer(peer, { hello: encodeHello(own, peer.raftId), check }, signal, channel)
    socket.resume()
    return new PeerLink(socket, hello)
  }

  /** All of them in one call of the kernel; what it does not take in time is dropped. */
  send(messages: readonly EncodedMessage[]): void {
    const socket = this.#socket
    if (socket.destroyed) return
    socket.cork()
    for (const { head, entries } of messages) {
      if (socket.writableLength > maxBufferedBytes) break
      socket.write(encodeFrameBefore(frameTypes.message, head, entries, maxPeerFrameBytes))
      if (entries.length > 0) socket.write(entries)
    }
    socket.uncork()
  }

  /** Resolves when the other side says that it has all of it. */
  sendSnapshot(head: Uint8Array, bytes: Uint8Array): Promise<void> {
    const socket = this.#socket
    return new Promise((resolve, reject) => {
      const decoder = new FrameDecoder(maxPeerFrameBytes)
      socket.on('data', (chunk) => {
        if (decoder.push(chunk).some((frame) => frame.type === frameTypes.snapshotTaken)) resolve()
      })
      socket.once('close', () => reject(new Fault('unavailable', 'the connection ended before the snapshot was taken')))
      socket.write(encodeFrame(frameTypes.message, head))
      void writeParts(socket, bytes)
    })
  }

  goodbye(reason: string): void {
    if (!this.#socket.destroyed) this.#socket.end(encodeFrame(frameTypes.goodbye, encodeMessage('PeerGoodbye', { reason })))
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

const partBytes = 256 * 1024

/** No more of it in memory than the kernel takes. */
async function writeParts(socket: Socket, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at === 0 || at < bytes.length; at += partBytes) {
    if (socket.destroyed) return
    const isTaken = socket.write(encodeFrame(frameTypes.snapshotPart, bytes.subarray(at, at + partBytes)))
    if (!isTaken) await new Promise<void>((resolve) => whicheverFirst(socket, resolve))
  }
}

function whicheverFirst(socket: Socket, resolve: () => void): void {
  const go = (): void => {
    socket.off('drain', go)
    socket.off('close', go)
    resolve()
  }
  socket.on('drain', go)
  socket.on('close', go)
}

export interface Greeting {
  readonly hello: Uint8Array
  /** Throws a `Fault` for an answer that is not the one hoped for. */
  readonly check: (body: Uint8Array) => PeerHello
}

/** Connects and greets. Resolves with a paused socket once both sides have greeted; it dies with the signal. */
export async function dialPeer(
  peer: PeerAddress,
  greeting: Greeting,
  signal: AbortSignal,
  channel = plainChannel
): Promise<{ readonly socket: Socket; readonly hello: PeerHello }> {
  signal.throwIfAborted()
  const socket = await channel.connect(peer, within(handshakeMs, signal))
  const stop = (): void => void socket.destroy()
  signal.addEventListener('abort', stop, { once: true })
  socket.once('close', () => signal.removeEventListener('abort', stop))
  socket.setNoDelay(true)
  socket.setTimeout(handshakeMs, () =>
    socket.destroy(new Fault('timeout', `the master at ${peer.host}:${peer.port} does not greet`))
  )
  try {
    const hello = await greet(socket, greeting, peer)
    socket.setTimeout(0)
    return { socket, hello }
  } catch (e) {
    socket.destroy()
    throw e
  }
}

function greet(socket: Socket, { hello, check }: Greeting, { host, port }: PeerAddress): Promise<PeerHello> {
  return new Promise((resolve, reject) => {
    const decoder = new FrameDecoder(maxPeerFrameBytes)
    const closed = (): void => {
      const why = 'it is of another cluster, or does not share the secret; its log tells'
      reject(new Fault('unavailable', `the master at ${host}:${port} closed the connection at once: ${why}`))
    }
    socket.once('error', reject)
    socket.once('close', closed)
    const onData = (chunk: Uint8Array): void => {
      try {
        const [frame] = decoder.push(chunk)
        if (frame === undefined) return
        const answer = check(frame.type === frameTypes.hello ? frame.body : new Uint8Array())
        socket.off('data', onData)
        socket.off('close', closed)
        socket.off('error', reject)
        socket.on('error', () => undefined) // 'close' comes too and is enough.
        socket.pause()
        resolve(answer)
      } catch (e) {
        reject(e as Error)
      }
    }
    socket.on('data', onData)
    socket.write(encodeFrame(frameTypes.hello, hello))
  })
}
