import type { Clock } from '../base/clock.ts'
import { Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { type Random, randomId } from '../base/random.ts'
import { backOffMs } from '../base/retry.ts'
import type { Service } from '../base/service.ts'
import type { Credentials } from '../identity/credentials.ts'
import type { Init } from '../proto/codec.ts'
import type { Register, TaskStatus } from '../proto/gen/messages.ts'
import { protocolVersion, type WireMessage } from '../proto/wire.ts'
import type { Leases } from './lease/leases.ts'
import { connectMaster, type MasterConnection } from './link.ts'
import type { HealthReport } from './node-health/monitor.ts'
import { newsOf, summaryOf } from './node-health/summary.ts'
import type { Ledger, LocalRouter } from './ports.ts'
import { StreamRelay } from './stream-relay.ts'
import type { Tasks } from './tasks.ts'

interface Parts {
  readonly ledger: Ledger
  readonly tasks: Tasks
  readonly outbox: {
    connect(send: (status: TaskStatus) => void): void
    disconnect(): void
    acknowledged(number: number): Promise<void>
  }
  readonly leases: Pick<Leases, 'connect' | 'disconnect' | 'granted'>
  readonly router: LocalRouter
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** The node's health as it is now. */
  readonly health: () => HealthReport
  /** Hears which authority signs certificates by now. */
  readonly onAuthority: (digest: string) => void
  /** Hears of a failure that must end the agent: a dead ledger, a broken invariant. */
  readonly onBroken: (error: unknown) => void
}

interface Config {
  readonly masters: readonly string[]
  readonly readToken: () => Promise<string>
  /** Read anew for each connection: they are renewed meanwhile. */
  readonly readCredentials: () => Promise<Credentials | undefined>
  readonly version: string
  readonly registration: Omit<Init<Register>, 'tasks' | 'agentId'>
}

const reconnect = { firstMs: 100, mostMs: 10_000 }
/** Heartbeats without an answer after which the connection is given up. */
const missedBeats = 5

/** Keeps this agent registered with a master: dial, register, beat, and again. Tasks never notice. */
export class Registration implements Service {
  readonly name = 'registration'
  readonly #parts: Parts
  readonly #config: Config
  readonly #stop = new AbortController()
  /** Of this process. */
  readonly #incarnation = randomId()
  #loop: Promise<void> | undefined
  #connection: MasterConnection | undefined
  #registered = false
  /** As the leader told them last; the configured ones are asked too. */
  #told: readonly string[] = []

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  get registered(): boolean {
    return this.#registered
  }

  /** Comes in anew, with what is on the disk by now. */
  reconnect(): void {
    this.#connection?.send('Goodbye', { reason: 'the agent comes back with a newer certificate' })
    this.#connection?.close()
  }

  async start(): Promise<void> {
    this.#loop = this.#keep().catch((e: unknown) => this.#parts.onBroken(e))
  }

  async stop(): Promise<void> {
    this.#connection?.send('Goodbye', { reason: 'the agent stops; its tasks go on' })
    this.#stop.abort(new Fault('unavailable', 'the agent stops'))
    await this.#loop
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const masters = [...new Set([...this.#config.masters, ...this.#told])]
      const address = masters[attempt % masters.length] ?? ''
      try {
        await this.#session(address, () => {
          attempt = 0
        })
      } catch (e) {
        if (signal.aborted) return
        if (!isFault(e)) throw e
        const fields = { address, code: e.code, fault: e.message, attempt }
        if (e.code === 'unavailable' || e.code === 'not-leader') this.#parts.log.info(fields, 'master.connection_lost')
        else this.#parts.log.error(fields, 'master.refused')
      }
      await this.#parts.clock.sleep(backOffMs(reconnect, attempt, this.#parts.random), signal).catch(() => undefined) // stopping
    }
  }

  /** One connection from hello to its end; always rejects with why it ended. */
  async #session(address: string, onRegistered: () => void): Promise<never> {
    const { head } = this.#parts.ledger.view
    let beatsOut = 0
    const hello = {
      protocolMin: protocolVersion.min,
      protocolMax: protocolVersion.max,
      clusterId: head.clusterId,
      nodeId: head.agentId,
      role: 'agent' as const,
      epoch: head.epoch,
      token: address.startsWith('tls:') ? '' : await this.#config.readToken(),
      version: this.#config.version
    }
    const early: (() => void)[] = []
    let take: ((message: WireMessage, receivedNs: bigint) => void) | undefined
    const onMessage = (message: WireMessage, receivedNs: bigint): void => {
      if (take === undefined) early.push(() => take?.(message, receivedNs))
      else take(message, receivedNs)
    }
    const connection = await connectMaster(
      { address, credentials: this.#config.readCredentials },
      hello,
      onMessage,
      this.#stop.signal
    )
    this.#connection = connection
    const relay = new StreamRelay(this.#parts.router, connection.send, this.#parts.log)
    try {
      await this.#adoptCluster(connection)
      this.#parts.onAuthority(connection.welcome.authority)
      take = (message, receivedNs) => {
        if (message.kind === 'HeartbeatAnswer') beatsOut = 0
        if (message.kind === 'Registered') {
          onRegistered()
          this.#told = message.message.masters
          if (message.message.wasGone) this.#parts.log.warn({ tasks: this.#parts.tasks.running }, 'agent.was_gone')
          this.#onRegistered(connection)
        }
        void this.#take(connection, relay, message, receivedNs).catch((e: unknown) => this.#parts.onBroken(e))
      }
      for (const late of early) late()
      const health = summaryOf(this.#parts.health())
      let told = newsOf(health)
      connection.send('Register', {
        ...this.#config.registration,
        agentId: head.agentId,
        incarnation: this.#incarnation,
        health,
        tasks: [...this.#parts.tasks.reports({ definitions: connection.welcome.wantsDefinitions })]
      })
      for (let sequence = 1; ; sequence += 1) {
        await this.#parts.clock.sleep(connection.welcome.heartbeatMs, connection.closed)
        beatsOut += 1
        if (beatsOut > missedBeats) throw new Fault('unavailable', `${address} answered none of ${missedBeats} heartbeats`)
        const health = summaryOf(this.#parts.health())
        const news = newsOf(health)
        connection.send('Heartbeat', { sequence, running: this.#parts.tasks.running, health: news === told ? null : health })
        told = news
      }
    } finally {
      this.#registered = false
      this.#parts.outbox.disconnect()
      this.#parts.leases.disconnect()
      relay.close()
      connection.close()
    }
  }

  /**
   * The first master an agent meets makes it a member of its cluster, for good, unless that cluster is given up for another one
   * (`hearth raft recover`); epochs only grow.
   */
  async #adoptCluster(connection: MasterConnection): Promise<void> {
    const { head } = this.#parts.ledger.view
    const { clusterId, epoch, formerClusterIds } = connection.welcome
    if (!['', clusterId, ...formerClusterIds].includes(head.clusterId)) {
      throw new Fault('conflict', `this agent belongs to cluster ${head.clusterId}, the master to ${clusterId}`)
    }
    if (epoch < head.epoch) throw new Fault('not-leader', `the master’s epoch ${epoch} is older than ${head.epoch}`)
    if (head.clusterId !== clusterId || head.epoch !== epoch) {
      await this.#parts.ledger.append({ head: { ...head, clusterId, epoch } }, 'disk')
    }
  }

  #onRegistered(connection: MasterConnection): void {
    this.#registered = true
    this.#parts.log.info({ epoch: connection.welcome.epoch }, 'agent.registered')
    this.#parts.outbox.connect((status) => connection.send('TaskStatus', status))
    this.#parts.leases.connect((request) => connection.send('LeaseRequest', request))
  }

  async #take(connection: MasterConnection, relay: StreamRelay, message: WireMessage, receivedNs: bigint): Promise<void> {
    const { tasks, outbox, leases } = this.#parts
    switch (message.kind) {
      case 'Launch': {
        this.#parts.log.debug({ receivedNs: String(receivedNs), containerId: message.message.containerId }, 'launch.received')
        if (this.#isStale(message.message.epoch)) return
        const answer = await tasks.launch(message.message)
        return answer === undefined ? undefined : connection.send('LaunchAnswer', answer)
      }
      case 'Kill':
        return this.#isStale(message.message.epoch) ? undefined : tasks.kill(message.message)
      case 'Forget':
        return this.#isStale(message.message.epoch) ? undefined : tasks.forget(message.message)
      case 'StatusAcknowledgement':
        if (this.#isVoid(message.message.epoch)) return
        return outbox.acknowledged(message.message.number)
      case 'LeaseGrant':
        return leases.granted(message.message)
      case 'StreamOpen':
        if (this.#isVoid(message.message.epoch)) return relay.refuse(message.message)
        return relay.open(message.message)
      case 'StreamData':
        return relay.data(message.message)
      case 'StreamCredit':
        return relay.credit(message.message)
      case 'StreamEnd':
        return relay.end(message.message)
      case 'Refusal': {
        const { code, message: why, duplicate } = message.message
        // Two agents of one id would undo each other's work: this one ends. What runs here goes on.
        if (duplicate) throw new Fault('conflict', why)
        this.#parts.log.error({ code, fault: why }, 'master.refused')
        return undefined
      }
      case 'Goodbye':
        this.#parts.log.info({ reason: message.message.reason }, 'master.said_goodbye')
        return connection.close()
      default:
        return undefined
    }
  }

  /** As `#isStale`, of what masters say with an epoch only since it was added to the message. */
  #isVoid(epoch: number): boolean {
    return epoch !== 0 && this.#isStale(epoch)
  }

  /** Orders of a leader that has been followed by another are void (fencing). */
  #isStale(epoch: number): boolean {
    const stale = epoch < this.#parts.ledger.view.head.epoch
    if (stale) this.#parts.log.warn({ epoch, known: this.#parts.ledger.view.head.epoch }, 'order.fenced')
    return stale
  }
}
