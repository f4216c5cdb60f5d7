import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import { Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Init } from '../../proto/codec.ts'
import { FrameDecoder } from '../../proto/frame.ts'
import type {
  Hello,
  LaunchAnswer,
  LeaseRequest,
  Messages,
  NodeHealthReport,
  Register,
  TaskStatus
} from '../../proto/gen/messages.ts'
import { nodeId } from '../../proto/ids.ts'
import { agreeProtocol, decodeWire, encodeWire, type WireMessage, type WireName } from '../../proto/wire.ts'
import type { Visitor } from '../identity/guard.ts'
import type { AgentLink, RelayRequest, RelayResponse } from '../link.ts'
import type { ServedTime } from './served-time.ts'
import { StreamRelay } from './stream-relay.ts'

/** What stands behind the door that agents come through. */
export interface AgentDesk {
  /** Rejects with a Fault for an agent that is refused. On success the link may be used until `left`. */
  register(link: AgentLink, register: Register, signal: AbortSignal): Promise<void>
  left(link: AgentLink, why: string): void
  answered(link: AgentLink, answer: LaunchAnswer): void
  /** The health of the node has changed. */
  healed(link: AgentLink, health: NodeHealthReport): void
  /** Throws `Fault('exhausted')` where the agent sends more than can be kept; the link is then cut. */
  status(link: AgentLink, status: TaskStatus): void
  leaseAsked(link: AgentLink, request: LeaseRequest): void
}

export interface SessionParts {
  readonly desk: AgentDesk
  readonly clock: Clock
  readonly served: Pick<ServedTime, 'ms'>
  readonly log: Log
  /** Asked at each handshake. */
  readonly facts: () => MasterFacts
}

interface MasterFacts {
  readonly clusterId: string
  readonly nodeId: string
  readonly epoch: number
  /** Ids of the clusters that were given up for this one. */
  readonly formerClusterIds: readonly string[]
  /** Digest of the authority that signs by now. */
  readonly authority?: string
  /** Agents are to tell what their tasks are, and not only how they do. */
  readonly wantsDefinitions?: boolean
}

export interface SessionConfig {
  readonly token: string
  readonly heartbeatMs: number
  readonly missedBeats: number
  readonly handshakeMs: number
  readonly answerMs: number
}

/** Before the handshake a peer may have no more than this of an unfinished frame under way. */
const maxGreetingBytes = 64 * 1024
/** A peer that does not read is cut off when this much waits for it. */
const maxUnsentBytes = 32 * 1024 * 1024
const resumeUnsentBytes = 1024 * 1024

/** One connection of an agent, from its first byte to its last. */
export class AgentSession implements AgentLink {
  agentId = ''
  readonly #socket: Socket
  readonly #parts: SessionParts
  readonly #config: SessionConfig
  /** Undefined on a socket that only root of this host can open: there the token is asked for. */
  readonly #visitor: Visitor | undefined
  readonly #relay: StreamRelay
  readonly #over = new AbortController()
  readonly #sinceMs: number
  #heardMs: number
  #stage: 'hello' | 'register' | 'admission' | 'serving' = 'hello'
  #why = 'the agent closed the connection'

  constructor(socket: Socket, parts: SessionParts, config: SessionConfig, visitor?: Visitor) {
    this.#socket = socket
    this.#visitor = visitor
    this.#parts = parts
    this.#config = config
    this.#sinceMs = parts.served.ms
    this.#heardMs = this.#sinceMs
    this.#relay = new StreamRelay(
      {
        send: (kind, message) => this.send(kind, message),
        drained: () => this.#drained(),
        sleep: (ms, signal) => parts.clock.sleep(ms, signal),
        epoch: () => parts.facts().epoch
      },
      { answerMs: config.answerMs }
    )
  }

  get isServing(): boolean {
    return this.#stage === 'serving'
  }

  /** Resolves when the connection is closed and everybody knows. */
  async run(): Promise<void> {
    const decoder = new FrameDecoder()
    try {
      // The loop must not close the socket by itself: a refusal is still to go out.
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        for (const frame of decoder.push(chunk as Uint8Array)) await this.#take(decodeWire(frame))
        if (this.#stage === 'hello' && decoder.pending > maxGreetingBytes) {
          throw new Fault('corrupt', `a greeting of more than ${maxGreetingBytes} bytes is refused`)
        }
      }
    } catch (e) {
      this.#broken(e)
    } finally {
      this.#socket.destroySoon()
      this.#over.abort(new Fault('unavailable', 'the connection to the node is gone'))
      this.#relay.fail(new Fault('unavailable', 'the connection to the node is gone'))
      this.#parts.desk.left(this, this.#why)
    }
  }

  get silentMs(): number {
    return this.#parts.served.ms - this.#heardMs
  }

  /** Closes a connection that has been silent or undecided for too long. */
  check(): void {
    const { heartbeatMs, missedBeats, handshakeMs } = this.#config
    if (this.isServing) {
      if (this.silentMs > heartbeatMs * missedBeats) this.close(`silent for ${missedBeats} heartbeats`)
    } else if (this.#stage !== 'admission' && this.#parts.served.ms - this.#sinceMs > handshakeMs) {
      this.#parts.log.warn({ stage: this.#stage, handshakeMs }, 'agent_link.handshake_timed_out')
      this.close('no handshake in time')
    }
  }

  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void {
    if (this.#socket.destroyed || !this.#socket.writable) return
    this.#socket.write(encodeWire(kind, message))
    if (this.#socket.writableLength > maxUnsentBytes) this.close('the agent does not read')
  }

  open(request: RelayRequest, signal: AbortSignal): Promise<RelayResponse> {
    if (this.#over.signal.aborted || !this.isServing) {
      return Promise.reject(new Fault('unavailable', 'the connection to the node is gone'))
    }
    return this.#relay.open(request, signal)
  }

  close(reason: string): void {
    this.#why = reason
    this.#socket.destroy()
  }

  /** Says goodbye first, so that the agent need not wait for silence. */
  leave(reason: string): void {
    this.send('Goodbye', { reason })
    this.#why = reason
    this.#socket.end()
  }

  #take(message: WireMessage): Promise<void> | void {
    this.#heardMs = this.#parts.served.ms
    if (this.#stage === 'hello') return this.#greet(message)
    if (this.#stage === 'register') return this.#enrol(message)
    return this.#serve(message)
  }

  #greet(message: WireMessage): void {
    if (message.kind !== 'Hello') throw new Fault('corrupt', `the first frame must be Hello, not ${message.kind}`)
    const hello = message.message
    const facts = this.#parts.facts()
    if (this.#visitor === undefined) checkToken(hello, this.#config.token)
    else checkCertificate(hello, this.#visitor)
    const protocol = admit(hello, facts)
    this.agentId = hello.nodeId
    this.#stage = 'register'
    this.send('Welcome', { ...facts, protocol, heartbeatMs: this.#config.heartbeatMs })
  }

  async #enrol(message: WireMessage): Promise<void> {
    if (message.kind === 'Heartbeat') return
    if (message.kind !== 'Register') throw new Fault('corrupt', `Register must follow Hello, not ${message.kind}`)
    // How long the desk takes is not the agent's fault.
    this.#stage = 'admission'
    await this.#parts.desk.register(this, message.message, this.#over.signal)
    this.#heardMs = this.#parts.served.ms
    this.#stage = 'serving'
  }

  #serve(message: WireMessage): void {
    switch (message.kind) {
      case 'Heartbeat':
        this.send('HeartbeatAnswer', { sequence: message.message.sequence })
        if (message.message.health !== null) this.#parts.desk.healed(this, message.message.health)
        return
      case 'TaskStatus':
        this.#parts.desk.status(this, message.message)
        return
      case 'LeaseRequest':
        this.#parts.desk.leaseAsked(this, message.message)
        return
      case 'LaunchAnswer':
        this.#parts.desk.answered(this, message.message)
        return
      case 'StreamHead':
        this.#relay.head(message.message)
        return
      case 'StreamData':
        this.#relay.data(message.message)
        return
      case 'StreamCredit':
        this.#relay.credit(message.message)
        return
      case 'StreamEnd':
        this.#relay.end(message.message)
        return
      case 'Goodbye':
        this.#why = message.message.reason === '' ? this.#why : message.message.reason
        this.#socket.end()
        return
      default:
        throw new Fault('corrupt', `a registered agent does not send ${message.kind}`)
    }
  }

  #broken(e: unknown): void {
    if (!isFault(e)) {
      if (e instanceof Error && 'code' in e) return // The socket broke; `left` tells so.
      throw e
    }
    this.#why = e.message
    this.#parts.log.warn({ agentId: this.agentId, stage: this.#stage, code: e.code, err: e.message }, 'agent_link.refused')
    if (this.#stage === 'serving' || this.#socket.destroyed) return
    this.#socket.write(encodeWire('Refusal', { code: e.code, message: e.message, duplicate: e.detail['duplicate'] === true }))
  }

  async #drained(): Promise<void> {
    while (this.#socket.writableLength > resumeUnsentBytes && !this.#socket.destroyed) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          this.#socket.off('drain', go)
          this.#socket.off('close', go)
          resolve()
        }
        this.#socket.once('drain', go)
        this.#socket.once('close', go)
      })
    }
  }
}

function checkToken(hello: Hello, token: string): void {
  const given = Buffer.from(hello.token)
  const wanted = Buffer.from(token)
  const same = given.length === wanted.length && timingSafeEqual(given, wanted)
  if (!same) throw new Fault('denied', 'the agent token is wrong: it must be the content of the file agent-token of this cluster')
}

/** Who comes from another host is who its certificate says, and nobody else. */
function checkCertificate(hello: Hello, { node, refusal }: Visitor): void {
  if (refusal !== undefined) throw refusal
  if (node === undefined)
    throw new Fault('denied', 'an agent of another host needs a certificate: hearth agent join HOST --token T')
  if (node.role !== 'agent') throw new Fault('denied', `the certificate is of a ${node.role}, not of an agent`)
  if (hello.nodeId !== node.nodeId) {
    throw new Fault(
      'denied',
      `the certificate is of node ${node.nodeId}, and the agent calls itself ${hello.nodeId.slice(0, 64)}`
    )
  }
}

/** The protocol to speak. Throws the Fault that is the refusal. */
function admit(hello: Hello, { clusterId, formerClusterIds }: MasterFacts): number {
  const protocol = agreeProtocol(hello.protocolMin, hello.protocolMax)
  if (hello.role !== 'agent') throw new Fault('unsupported', `only agents come through this door, not a ${hello.role}`)
  if (!['', clusterId, ...formerClusterIds].includes(hello.clusterId)) {
    throw new Fault('conflict', `the agent belongs to cluster ${hello.clusterId}, this is ${clusterId}`)
  }
  nodeId(hello.nodeId)
  return protocol
}
