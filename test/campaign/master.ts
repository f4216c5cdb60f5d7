import { createHash, randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { encodeMessage, type Init } from '../../proto/codec.ts'
import { FrameDecoder } from '../../proto/frame.ts'
import type { KillPolicy, Launch, LaunchAnswer, LeaseGrant, LeaseRequest, Register, TaskGroup } from '../../proto/gen/messages.ts'
import { decodeWire, encodeWire, type WireMessage, type WireName } from '../../proto/wire.ts'
import type { ReceivedStatus } from './invariants/expected.ts'

/** One task as this master wants it. */
interface Order {
  readonly launch: Init<Launch>
  readonly taskId: string
  readonly containerId: string
  kill?: Init<KillPolicy>
  forget?: boolean
  answer?: LaunchAnswer
}

export const frameworkId = 'campaign'

/**
 * A master with a script in place of decisions, over the real wire. Like the real one it asks again for what an agent that
 * registers anew does not know, and keeps what it was told; unlike it, it may withhold an acknowledgement.
 */
export class CampaignMaster {
  readonly clusterId = randomBytes(16).toString('hex')
  readonly statuses: ReceivedStatus[] = []
  /** What no agent may do, whatever it was asked. */
  readonly problems: string[] = []
  /** Says what is granted; silent where it answers nothing. */
  grant: (request: LeaseRequest) => Init<LeaseGrant> | undefined = ({ lengthMs }) => ({ granted: true, lengthMs })
  readonly #path: string
  readonly #server: Server
  readonly #orders = new Map<string, Order>()
  readonly #withhold: (number: number) => boolean
  readonly #withheld = new Set<number>()
  readonly #watchers = new Set<() => void>()
  #socket: Socket | undefined
  #registrations = 0

  /** `withhold`: whether the first acknowledgement of a status is left out, as if it had been lost on the way. */
  constructor(path: string, withhold: (number: number) => boolean = () => false) {
    this.#path = path
    this.#withhold = withhold
    this.#server = createServer((socket) => this.#serve(socket))
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#path, resolve)
    })
  }

  /** How often an agent has registered. */
  get registrations(): number {
    return this.#registrations
  }

  get connected(): boolean {
    return this.#socket !== undefined
  }

  launch(containerId: string, group: Init<TaskGroup>): void {
    const specDigest = createHash('sha256').update(encodeMessage('TaskGroup', group)).digest('hex')
    const launch = { epoch: 1, clusterId: this.clusterId, group, attempt: 1, containerId, specDigest }
    this.#orders.set(containerId, { launch, containerId, taskId: group.tasks?.[0]?.taskId ?? '' })
    this.#send('Launch', launch)
  }

  /** Each task has a launch, as the real master sends them. */
  launchPod(sandboxId: string, containerIds: readonly string[], group: Init<TaskGroup>): void {
    const specDigest = createHash('sha256').update(encodeMessage('TaskGroup', group)).digest('hex')
    const pod = { sandboxId, members: containerIds.map((containerId) => ({ containerId, attempt: 1 })) }
    for (const [i, containerId] of containerIds.entries()) {
      const launch = { epoch: 1, clusterId: this.clusterId, group, attempt: 1, containerId, specDigest, pod }
      this.#orders.set(containerId, { launch, containerId, taskId: group.tasks?.[i]?.taskId ?? '' })
      this.#send('Launch', launch)
    }
  }

  kill(containerId: string, policy: Init<KillPolicy>): void {
    const order = this.#order(containerId)
    order.kill = policy
    this.#send('Kill', { epoch: 1, frameworkId, taskId: order.taskId, attempt: 1, policy })
  }

  forget(containerId: string): void {
    const order = this.#order(containerId)
    order.forget = true
    this.#send('Forget', { epoch: 1, frameworkId, taskId: order.taskId })
  }

  answerTo(containerId: string): LaunchAnswer | undefined {
    return this.#orders.get(containerId)?.answer
  }

  has(containerId: string, state: ReceivedStatus['status']['state']): boolean {
    return this.statuses.some(({ status }) => status.containerId === containerId && status.state === state)
  }

  /** Resolves as soon as it holds, looked at after every message; rejects with the signal's reason. */
  until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const over = (): void => {
        this.#watchers.delete(look)
        signal.removeEventListener('abort', stop)
      }
      const look = (): void => {
        if (!holds()) return
        over()
        resolve()
      }
      const stop = (): void => {
        over()
        reject(signal.reason as Error)
      }
      this.#watchers.add(look)
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) stop()
      else look()
    })
  }

  /** Cuts the connection as a network would. */
  cut(): void {
    this.#socket?.destroy()
  }

  close(): void {
    this.#socket?.destroy()
    this.#server.close()
    rmSync(this.#path, { force: true })
  }

  #order(containerId: string): Order {
    const order = this.#orders.get(containerId)
    if (order === undefined) throw new Error(`${containerId} was never launched`)
    return order
  }

  #send<K extends WireName>(kind: K, message: Parameters<typeof encodeWire<K>>[1]): void {
    this.#socket?.write(encodeWire(kind, message))
  }

  #serve(socket: Socket): void {
    const decoder = new FrameDecoder()
    socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) {
        const message = decodeWire(frame)
        const digest = message.kind === 'TaskStatus' ? createHash('sha256').update(frame.body).digest('hex') : ''
        this.#take(socket, message, digest)
      }
      for (const look of [...this.#watchers]) look()
    })
    socket.on('error', () => socket.destroy()) // the agent was killed
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined
      for (const look of [...this.#watchers]) look()
    })
  }

  #take(socket: Socket, message: WireMessage, digest: string): void {
    const { clusterId } = this
    switch (message.kind) {
      case 'Hello':
        socket.write(encodeWire('Welcome', { protocol: 1, clusterId, nodeId: '0'.repeat(32), epoch: 1, heartbeatMs: 1_000 }))
        return
      case 'Register':
        this.#socket = socket
        this.#registrations += 1
        this.#send('Registered', { agentId: message.message.agentId, epoch: 1 })
        this.#askAgain(message.message)
        return
      case 'Heartbeat':
        this.#send('HeartbeatAnswer', { sequence: message.message.sequence })
        return
      case 'LaunchAnswer':
        this.#answered(message.message)
        return
      case 'LeaseRequest': {
        const { containerId, request } = message.message
        const grant = this.grant(message.message)
        if (grant !== undefined) this.#send('LeaseGrant', { epoch: 1, containerId, request, ...grant })
        return
      }
      case 'TaskStatus': {
        const status = message.message
        this.statuses.push({ status, digest })
        if (this.#withhold(status.number) && !this.#withheld.has(status.number)) this.#withheld.add(status.number)
        else this.#send('StatusAcknowledgement', { number: status.number })
        return
      }
      default:
        return
    }
  }

  #answered(answer: LaunchAnswer): void {
    const order = [...this.#orders.values()].find((o) => o.taskId === answer.taskId)
    if (order === undefined) return
    order.answer = answer
    if (!answer.accepted) this.problems.push(`the agent refused ${answer.taskId}: ${answer.message}`)
  }

  /** What an accepted launch promises is durable: an agent that no longer knows it has lost a task. */
  #askAgain(register: Register): void {
    const known = new Set(register.tasks.map((t) => t.containerId))
    for (const order of this.#orders.values()) {
      const { containerId, taskId, launch, kill, forget, answer } = order
      if (forget === true) {
        if (known.has(containerId)) this.#send('Forget', { epoch: 1, frameworkId, taskId })
        continue
      }
      if (!known.has(containerId)) {
        if (answer?.accepted === true) this.problems.push(`the agent accepted ${taskId} and knows nothing of it any more`)
        this.#send('Launch', launch)
      }
      if (kill !== undefined) this.#send('Kill', { epoch: 1, frameworkId, taskId, attempt: 1, policy: kill })
    }
    for (const id of known) if (!this.#orders.has(id)) this.problems.push(`the agent tells of ${id}, which nobody launched`)
  }
}
