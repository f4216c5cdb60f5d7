import type { Clock } from '../../base/clock.ts'
import { errnoOf, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Member } from '../consensus/membership.ts'
import type { PeerTransport } from '../consensus/port.ts'
import type { Message } from '../raft/message.ts'
import type { PeerChannel } from './peer-channel.ts'
import { type EncodedMessage, PeerEncoder } from './peer-codec.ts'
import type { PeerIdentity } from './peer-handshake.ts'
import { type PeerAddress, PeerLink } from './peer-link.ts'

interface PeersParts {
  readonly log: Log
  readonly clock: Clock
  /** The process of a peer has ended without a goodbye: its port refuses, or another process is behind it. */
  readonly onGone: (raftId: number) => void
  /** Without one, in clear, and only on loopback. */
  readonly channel?: PeerChannel
  /** Default 2,000. */
  readonly stallMs?: number
}

interface Peer {
  readonly address: PeerAddress
  readonly closing: AbortController
  readonly kept: Promise<void>
  link: PeerLink | undefined
  /** Of the process that was there last; empty where none is known. */
  incarnation: string
  saidGoodbye: boolean
  /** Since when it has been spoken to without a word from it. */
  unansweredSinceMs: number | undefined
}

/** A process that is just being killed takes connections that nobody answers for another moment. */
const firstPauseMs = 2
const longestPauseMs = 1_000
/** Several elections: whoever can answer has done so. */
const stallMsDefault = 2_000

/** The way to the other masters over TCP: a connection to each on which this one speaks, and one more for each snapshot. */
export class TcpPeers implements PeerTransport {
  readonly #parts: PeersParts
  readonly #own: PeerIdentity
  readonly #peers = new Map<number, Peer>()
  /** The log as far as it is applied does not know this master: it was added a moment ago, and knows nobody's address from there. */
  #isNew = true
  #nodeIds: ReadonlyMap<number, string> = new Map()

  constructor(parts: PeersParts, own: PeerIdentity) {
    this.#parts = parts
    this.#own = own
  }

  /** A master came that is reached there. A newcomer answers it, until its own log tells it who there is. */
  heardOf(raftId: number, address: string): void {
    const peer = addressOf({ raftId, address }, this.#parts.channel !== undefined)
    if (this.#isNew && peer !== undefined && !this.#peers.has(raftId)) this.#add(peer)
  }

  membersAre(members: readonly Member[]): void {
    this.#isNew = members.every((member) => member.raftId !== this.#own.raftId)
    this.#nodeIds = new Map(members.map(({ raftId, nodeId }) => [raftId, nodeId]))
    const wanted = new Map(
      members.flatMap((member) => {
        const address = addressOf(member, this.#parts.channel !== undefined)
        return address === undefined || member.raftId === this.#own.raftId ? [] : [[member.raftId, address] as const]
      })
    )
    for (const [raftId, peer] of this.#peers) {
      const now = wanted.get(raftId)
      if (now === undefined && this.#isNew) continue
      if (now?.host !== peer.address.host || now.port !== peer.address.port) this.#drop(raftId, peer)
    }
    for (const [raftId, address] of wanted) if (!this.#peers.has(raftId)) this.#add(address)
  }

  nodeIdOf(raftId: number): string | undefined {
    return this.#nodeIds.get(raftId)
  }

  /** The highest that the build of that master knows; undefined where it is not reached just now. */
  featureLevelOf(raftId: number): number | undefined {
    return this.#peers.get(raftId)?.link?.featureLevel
  }

  send(messages: readonly Message[]): void {
    const encoder = new PeerEncoder()
    const toEach = new Map<Peer, EncodedMessage[]>()
    for (const m of messages) {
      const peer = this.#peers.get(m.to)
      if (peer?.link === undefined) continue
      const before = toEach.get(peer)
      if (before === undefined) toEach.set(peer, [encoder.encode(m)])
      else before.push(encoder.encode(m))
    }
    for (const [peer, some] of toEach) {
      peer.link?.send(some)
      this.#watchForAnswers(peer)
    }
  }

  /** Something came from that master. */
  heardFrom(raftId: number): void {
    const peer = this.#peers.get(raftId)
    if (peer !== undefined) peer.unansweredSinceMs = undefined
  }

  /**
   * A network that was cut for a while leaves connections on which the kernel waits ever longer, up to two minutes, before it tries again
   * (RFC 6298, 5.5), long after the network is well: so whoever is spoken to and stays silent is dialled anew.
   */
  #watchForAnswers(peer: Peer): void {
    const nowMs = this.#parts.clock.monotonicMs()
    peer.unansweredSinceMs ??= nowMs
    if (nowMs - peer.unansweredSinceMs < (this.#parts.stallMs ?? stallMsDefault)) return
    peer.unansweredSinceMs = undefined
    peer.link?.destroy()
  }

  async sendSnapshot(m: Message, bytes: Uint8Array): Promise<void> {
    const peer = this.#peers.get(m.to)
    if (peer === undefined) throw new Error(`master ${m.to} has no address`)
    const link = await PeerLink.open(this.#own, peer.address, peer.closing.signal, this.#parts.channel)
    try {
      await link.sendSnapshot(new PeerEncoder().encode(m, bytes.length).head, bytes)
    } finally {
      link.destroy()
    }
  }

  /** A peer told us that it ends its connections on purpose. */
  goodbyeOf(raftId: number): void {
    const peer = this.#peers.get(raftId)
    if (peer !== undefined) peer.saidGoodbye = true
  }

  /** Tells everybody that what ends now ends on purpose. */
  async close(reason: string): Promise<void> {
    const all = [...this.#peers.entries()]
    for (const [, peer] of all) peer.link?.goodbye(reason)
    for (const [raftId, peer] of all) this.#drop(raftId, peer)
    await Promise.all(all.map(([, peer]) => peer.kept))
  }

  #add(address: PeerAddress): void {
    const closing = new AbortController()
    const peer: Peer = {
      address,
      closing,
      link: undefined,
      incarnation: '',
      saidGoodbye: false,
      unansweredSinceMs: undefined,
      kept: this.#keep(() => peer, closing.signal)
    }
    this.#peers.set(address.raftId, peer)
  }

  #drop(raftId: number, peer: Peer): void {
    this.#peers.delete(raftId)
    peer.closing.abort()
    peer.link?.goodbye('it is no member any more')
  }

  /** Dials until it is told to stop; at once after a connection has ended, then with growing pauses. */
  async #keep(peerOf: () => Peer, signal: AbortSignal): Promise<void> {
    await Promise.resolve()
    const peer = peerOf()
    for (let pauseMs = 0; !signal.aborted; ) {
      const wasThere = await this.#meet(peer, signal)
      pauseMs = wasThere ? 0 : Math.min(longestPauseMs, Math.max(firstPauseMs, pauseMs * 2))
      // Only the stop ends it early.
      if (!wasThere) await this.#parts.clock.sleep(pauseMs, signal).catch(() => undefined)
    }
  }

  /** One connection from its beginning to its end; false where there was none. */
  async #meet(peer: Peer, signal: AbortSignal): Promise<boolean> {
    try {
      const link = await PeerLink.open(this.#own, peer.address, signal, this.#parts.channel)
      // Whoever has started anew has forgotten that it led.
      if (peer.incarnation !== '' && peer.incarnation !== link.incarnation) this.#gone(peer)
      peer.incarnation = link.incarnation
      peer.saidGoodbye = false
      peer.unansweredSinceMs = undefined
      peer.link = link
      await link.ended
      peer.link = undefined
      return true
    } catch (error) {
      if (!signal.aborted) this.#missed(peer, error)
      return false
    }
  }

  #missed(peer: Peer, error: unknown): void {
    if (errnoOf(error) === 'ECONNREFUSED') {
      if (peer.incarnation !== '' && !peer.saidGoodbye) this.#gone(peer)
      peer.incarnation = ''
    } else if (isFault(error)) {
      this.#parts.log.warn({ peer: peer.address.raftId, reason: error.message }, 'peer.not_reached')
    }
  }

  #gone({ address }: Peer): void {
    this.#parts.log.info({ peer: address.raftId }, 'peer.gone')
    this.#parts.onGone(address.raftId)
  }
}

/** `tls:HOST:PORT` where there are certificates, else `tcp:HOST:PORT` on loopback alone. */
export function addressOf({ raftId, address }: Pick<Member, 'raftId' | 'address'>, isSecure = false): PeerAddress | undefined {
  const pattern = isSecure
    ? /^tls:([^:\s/[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/
    : /^tcp:(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/
  const [, host, port] = pattern.exec(address) ?? []
  return host === undefined ? undefined : { raftId, host: host.replace(/[[\]]/g, ''), port: Number(port) }
}
