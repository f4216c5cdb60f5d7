import { setMaxListeners } from 'node:events'
import { connectMaster, type MasterConnection } from '../../../agent/link.ts'
import { systemClock } from '../../../base/clock.ts'
import { isFault } from '../../../base/fault.ts'
import { randomId, systemRandom } from '../../../base/random.ts'
import { backOffMs } from '../../../base/retry.ts'
import type { Credentials } from '../../../identity/credentials.ts'
import { join, meet } from '../../../identity/enrolment.ts'
import { parseJoinToken } from '../../../identity/join-token.ts'
import { newNodeId } from '../../../proto/ids.ts'
import { scalar } from '../../../proto/resources.ts'
import { protocolVersion, type WireMessage } from '../../../proto/wire.ts'
import { Slots } from '../../campaign/crash-sweep/slots.ts'
import type { SwarmOrder, SwarmWish, SwarmWord } from './swarm-order.ts'

/** As an agent dials (agent/registration.ts). */
const reconnect = { firstMs: 100, mostMs: 10_000 }
const missedBeats = 5
const joiningAtOnce = 16
/** Each agent has a processor of its own where it lives; here a handshake must not wait for a thousand others’ halves of theirs. */
const diallingAtOnce = 64
const tellEveryMs = 100
const never = new AbortController().signal
setMaxListeners(0, never)

/** Many agents without containers in one process: certificate, TLS, hello, registration and heartbeats are as an agent does them. */
class Swarm {
  readonly #order: SwarmOrder
  readonly #agents: Credentials[] = []
  readonly #mute = new Set<string>()
  readonly #dials = new Slots(diallingAtOnce)
  #epoch = 0
  /** With the leader of `#epoch`. */
  #registered = 0
  /** Round trips of heartbeats, milliseconds; undefined while nobody asks. */
  #pings: number[] | undefined

  constructor(order: SwarmOrder) {
    this.#order = order
  }

  async joinAll(): Promise<void> {
    const { agents, door } = this.#order
    const token = parseJoinToken(this.#order.token)
    const shown = await meet(door, token, never)
    let begun = 0
    const lane = async (): Promise<void> => {
      while (begun < agents) {
        begun += 1
        const hostname = `swarm-${begun}`
        // A join whose answer was lost may have taken place: the next one is of another node.
        const joined = await patiently(() => {
          const newcomer = { role: 'agent' as const, nodeId: newNodeId(), hostname }
          return join(door, { token, shown, newcomer }, never)
        })
        this.#agents.push(joined.credentials)
      }
    }
    const telling = setInterval(() => tell({ kind: 'joined', agents: this.#agents.length }), tellEveryMs)
    await Promise.all(Array.from({ length: joiningAtOnce }, lane))
    clearInterval(telling)
    tell({ kind: 'joined', agents: this.#agents.length })
  }

  connect(): void {
    setInterval(() => tell({ kind: 'registered', agents: this.#registered, epoch: this.#epoch }), tellEveryMs)
    this.#agents.forEach((credentials, i) => void this.#keep(credentials, i))
  }

  async ping(forMs: number): Promise<void> {
    const pings: number[] = []
    this.#pings = pings
    await systemClock.sleep(forMs, never)
    this.#pings = undefined
    tell({ kind: 'pinged', ms: pings })
  }

  mute(count: number): void {
    for (const { name } of this.#agents.slice(0, count)) this.#mute.add(name.nodeId)
    tell({ kind: 'muted', agents: [...this.#mute], atMs: Date.now() })
  }

  async #keep(credentials: Credentials, offset: number): Promise<void> {
    const { masters } = this.#order
    const incarnation = randomId()
    let epoch = 0
    for (let attempt = 0, at = offset; !this.#mute.has(credentials.name.nodeId); attempt += 1, at += 1) {
      const address = masters[at % masters.length] ?? ''
      try {
        await this.#session(address, credentials, incarnation, {
          epoch,
          onRegistered: (now) => {
            epoch = now
            attempt = 0
          }
        })
      } catch (e) {
        if (!isFault(e)) throw e
      }
      await systemClock.sleep(backOffMs(reconnect, attempt, systemRandom), never)
    }
  }

  /** Always rejects with why the connection ended. */
  async #session(
    address: string,
    credentials: Credentials,
    incarnation: string,
    { epoch, onRegistered }: { readonly epoch: number; readonly onRegistered: (epoch: number) => void }
  ): Promise<void> {
    const { nodeId, clusterId } = credentials.name
    const hello = {
      protocolMin: protocolVersion.min,
      protocolMax: protocolVersion.max,
      ...{ clusterId, nodeId, role: 'agent' as const, epoch, token: '', version: 'swarm' }
    }
    let registeredWith = -1
    let sentMs = 0
    let beatsOut = 0
    const onMessage = (message: WireMessage): void => {
      if (message.kind === 'HeartbeatAnswer') {
        beatsOut = 0
        this.#pings?.push(performance.now() - sentMs)
      }
      if (message.kind === 'Goodbye') connection?.close()
      if (message.kind !== 'Registered') return
      registeredWith = message.message.epoch
      if (registeredWith > this.#epoch) {
        this.#epoch = registeredWith
        this.#registered = 0
      }
      this.#registered += 1
      onRegistered(registeredWith)
    }
    let connection: MasterConnection | undefined
    const release = await this.#dials.take(never)
    try {
      connection = await connectMaster({ address, credentials: () => Promise.resolve(credentials) }, hello, onMessage, never)
    } finally {
      release()
    }
    const { closed, welcome, send } = connection
    try {
      send('Register', {
        agentId: nodeId,
        hostname: `swarm-${nodeId}`,
        bootId: incarnation,
        incarnation,
        resources: [scalar('cpus', 8_000), scalar('mem', 32 * 2 ** 30)],
        version: 'swarm'
      })
      for (let sequence = 1; ; sequence += 1) {
        await systemClock.sleep(welcome.heartbeatMs, closed)
        if (this.#mute.has(nodeId)) continue
        beatsOut += 1
        if (beatsOut > missedBeats) return
        sentMs = performance.now()
        send('Heartbeat', { sequence, running: 0 })
      }
    } finally {
      if (registeredWith === this.#epoch) this.#registered -= 1
      connection.close()
    }
  }
}

const triesMost = 20

/** As whoever joins by hand: once more where a master asks for it. */
async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await act()
    } catch (e) {
      if (!isFault(e) || attempt === triesMost) throw e
      await systemClock.sleep(backOffMs(reconnect, attempt, systemRandom), never)
    }
  }
}

const tell = (word: SwarmWord): void => void process.send?.(word)

const swarm = new Swarm(JSON.parse(process.argv[2] ?? '') as SwarmOrder)
process.on('disconnect', () => process.exit(0))
process.on('message', (wish: SwarmWish) => {
  if (wish.kind === 'connect') swarm.connect()
  else if (wish.kind === 'mute') swarm.mute(wish.agents)
  else void swarm.ping(wish.forMs)
})
process.on('unhandledRejection', (e) => {
  tell({ kind: 'broken', message: e instanceof Error ? (e.stack ?? e.message) : String(e) })
})
await swarm.joinAll()
