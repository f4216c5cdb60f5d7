import type { Socket } from 'node:net'
import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage, type Init } from '../../proto/codec.ts'
import { encodeFrame, FrameDecoder } from '../../proto/frame.ts'
import type { PeerHello, PeerInvitation } from '../../proto/gen/messages.ts'
import type { Member } from '../consensus/membership.ts'
import type { PeerChannel } from './peer-channel.ts'
import {
  checkHello,
  checkStranger,
  encodeHello,
  frameTypes,
  maxPeerFrameBytes,
  type PeerIdentity,
  type TunnelPurpose
} from './peer-handshake.ts'
import { dialPeer, type Greeting, type PeerAddress } from './peer-link.ts'
import { addressOf } from './tcp-peers.ts'

/** Who answered a knock. */
export interface Candidate {
  readonly nodeId: string
  readonly agentAddress: string
  /** 0: it waits to be added. */
  readonly raftId: number
  readonly featureLevel: number
}

/** What one master asks of another besides the messages of the core: a way to its doors, or to become a member. */
export class PeerCaller {
  readonly #own: PeerIdentity
  readonly #channel: PeerChannel | undefined

  /** `channel`: without it, in clear, and only on loopback. */
  constructor(own: PeerIdentity, channel?: PeerChannel) {
    this.#own = own
    this.#channel = channel
  }

  /** Undefined where this master cannot reach such an address. */
  peerAt(member: Pick<Member, 'raftId' | 'address'>): PeerAddress | undefined {
    return addressOf(member, this.#channel !== undefined)
  }

  /** A connection to the operator API or to the door for agents of another master. Rejects with a `Fault` or the socket's errno. */
  async tunnel(peer: PeerAddress, purpose: TunnelPurpose, signal: AbortSignal): Promise<Socket> {
    const check = (body: Uint8Array): PeerHello => checkHello(body, this.#own, peer.raftId)
    const hello = encodeHello(this.#own, peer.raftId, { purpose })
    const { socket } = await dialPeer(peer, { hello, check }, signal, this.#channel)
    // Behind a door nobody speaks first: nothing can flow by before there is a reader.
    socket.resume()
    return socket
  }

  /** Who is there. Rejects with `Fault('conflict')` for a master of another cluster. */
  async knock(peer: PeerAddress, signal: AbortSignal): Promise<Candidate> {
    const { socket, hello } = await dialPeer(peer, this.#invitationGreeting(peer), signal, this.#channel)
    socket.destroy()
    const { nodeId, agentAddress, raftId, featureLevel } = hello
    return { nodeId, agentAddress, raftId, featureLevel }
  }

  /** Resolves once the other has it on its disk. Rejects with its reason where it does not accept. */
  async invite(peer: PeerAddress, invitation: Init<PeerInvitation>, signal: AbortSignal): Promise<void> {
    const { socket } = await dialPeer(peer, this.#invitationGreeting(peer), signal, this.#channel)
    try {
      socket.write(encodeFrame(frameTypes.invitation, encodeMessage('PeerInvitation', invitation)))
      const { accepted, message } = decodeMessage('PeerInvitationAnswer', await nextBody(socket, frameTypes.invitationAnswer))
      if (!accepted) throw new Fault('conflict', `the master at ${peer.host}:${peer.port} refuses: ${message}`)
    } finally {
      socket.destroy()
    }
  }

  #invitationGreeting({ host, port }: PeerAddress): Greeting {
    return {
      hello: encodeHello(this.#own, 0, { purpose: 'invite' }),
      check: (body) => {
        const hello = decodeMessage('PeerHello', body)
        checkStranger(hello, this.#own)
        if (hello.clusterId !== '' && hello.clusterId !== this.#own.clusterId) {
          const message = `the master at ${host}:${port} belongs to cluster ${hello.clusterId}: give it an empty state directory`
          throw new Fault('conflict', message)
        }
        return hello
      }
    }
  }
}

/** Rejects with `Fault('unavailable')` where the connection ends first. */
function nextBody(socket: Socket, type: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const decoder = new FrameDecoder(maxPeerFrameBytes)
    socket.once('close', () => reject(new Fault('unavailable', 'the other master broke off; ask again')))
    socket.on('data', (chunk) => {
      try {
        const frame = decoder.push(chunk).find((one) => one.type === type)
        if (frame !== undefined) resolve(frame.body)
      } catch (e) {
        reject(e as Error)
      }
    })
    socket.resume()
  })
}
