import type { Socket } from 'node:net'
import { Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import { encodeFrame, type Frame, FrameDecoder } from '../../proto/frame.ts'
import type { PeerInvitation } from '../../proto/gen/messages.ts'
import { type PeerChannel, plainChannel } from './peer-channel.ts'
import { checkStranger, encodeHello, frameTypes, maxPeerFrameBytes } from './peer-handshake.ts'

interface WaitingParts {
  readonly log: Log
  readonly channel?: PeerChannel
  /** Makes the invitation durable. A `Fault` is the reason of a refusal. */
  readonly accept: (invitation: PeerInvitation) => Promise<void>
}

export interface WaitingConfig {
  readonly listen: { readonly host: string; readonly port: number }
  readonly token: string
  readonly nodeId: string
  readonly agentAddress: string
}

const handshakeMs = 5_000
const maxConnections = 16

/** A master that has no cluster yet listens for the invitation of one. Resolves once it is accepted; rejects when the signal aborts. */
export function awaitInvitation(parts: WaitingParts, config: WaitingConfig, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const sockets = new Set<Socket>()
  return new Promise((resolve, reject) => {
    let isAccepted = false
    const end = (): void => {
      server.close(() => (isAccepted ? resolve() : reject(signal.reason as Error)))
      for (const socket of sockets) socket.destroySoon()
    }
    const server = (parts.channel ?? plainChannel).createServer((socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.on('error', () => undefined) // 'close' comes too and is enough.
      socket.setTimeout(handshakeMs, () => socket.destroy())
      if (sockets.size > maxConnections) socket.destroy()
      const accepted = (): void => {
        isAccepted = true
        signal.removeEventListener('abort', end)
        end()
      }
      void greetInviter(socket, parts, config, accepted)
    })
    server.once('error', reject)
    server.listen(config.listen, () => signal.addEventListener('abort', end, { once: true }))
  })
}

async function greetInviter(socket: Socket, parts: WaitingParts, config: WaitingConfig, accepted: () => void): Promise<void> {
  const decoder = new FrameDecoder(maxPeerFrameBytes)
  let isGreeted = false
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      for (const frame of decoder.push(chunk as Uint8Array)) {
        if (!isGreeted) greet(socket, frame, config)
        else if (await invited(socket, frame, parts, config)) accepted()
        isGreeted = true
      }
    }
  } catch (e) {
    refuse(socket, e, parts.log)
  }
}

function refuse(socket: Socket, e: unknown, log: Log): void {
  if (isFault(e)) log.warn({ from: socket.remoteAddress, reason: e.message }, 'peer.refused')
  else if (!socket.destroyed) throw e
  socket.destroy()
}

function greet(socket: Socket, { type, body }: Frame, { token, nodeId, agentAddress }: WaitingConfig): void {
  const hello = decodeMessage('PeerHello', type === frameTypes.hello ? body : new Uint8Array())
  checkStranger(hello, { token })
  if (hello.purpose !== 'invite') throw new Fault('conflict', 'this master waits to be added: hearth raft add')
  const own = { clusterId: '', raftId: 0, incarnation: randomId(), token }
  socket.write(encodeFrame(frameTypes.hello, encodeHello(own, hello.raftId, { nodeId, agentAddress })))
}

async function invited(
  socket: Socket,
  { type, body }: Frame,
  { accept }: WaitingParts,
  { nodeId }: WaitingConfig
): Promise<boolean> {
  if (type !== frameTypes.invitation) throw new Fault('invalid', 'an invitation was expected')
  const invitation = decodeMessage('PeerInvitation', body)
  const answer = (accepted: boolean, message = ''): void => {
    socket.write(encodeFrame(frameTypes.invitationAnswer, encodeMessage('PeerInvitationAnswer', { accepted, message })))
  }
  try {
    if (invitation.nodeId !== nodeId) throw new Fault('conflict', `it is ${nodeId}, not ${invitation.nodeId}`)
    await accept(invitation)
  } catch (e) {
    if (!isFault(e)) throw e
    answer(false, e.message)
    return false
  }
  answer(true)
  return true
}
