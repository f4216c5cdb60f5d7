import { connect, type Socket } from 'node:net'
import type { Init } from '../../proto/codec.ts'
import { FrameDecoder } from '../../proto/frame.ts'
import type { Hello, Messages, Register, TaskStatus } from '../../proto/gen/messages.ts'
import { newNodeId } from '../../proto/ids.ts'
import { scalar } from '../../proto/resources.ts'
import { decodeWire, encodeWire, type WireMessage, type WireName } from '../../proto/wire.ts'

export const mebibyte = 1024 * 1024

/** An agent that does what a test says, over a real socket. Once it has joined it beats; nothing else happens by itself. */
export class ScriptedAgent {
  readonly agentId: string
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #received: WireMessage[] = []
  readonly #waiting: (() => void)[] = []
  #isClosed = false
  #number = 0
  #beat: NodeJS.Timeout | undefined

  /** `where` is the path of a unix socket, or a connection of the test's own making. */
  constructor(where: string | Socket, agentId: string = newNodeId()) {
    this.agentId = agentId
    this.#socket = typeof where === 'string' ? connect(where) : where
    const decoder = new FrameDecoder()
    this.#socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) this.#received.push(decodeWire(frame))
      this.#wake()
    })
    this.#socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      this.#socket.once('close', () => {
        this.#isClosed = true
        this.#wake()
        resolve()
      })
    })
  }

  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void {
    this.#socket.write(encodeWire(kind, message))
  }

  raw(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  hello(token: string, more: Init<Hello> = {}): void {
    this.send('Hello', { protocolMin: 1, protocolMax: 1, nodeId: this.agentId, role: 'agent', token, version: 'test', ...more })
  }

  register(more: Init<Register> = {}): void {
    const resources = [scalar('cpus', 2_000), scalar('mem', 1024 * mebibyte), scalar('disk', 10_240 * mebibyte)]
    this.send('Register', { agentId: this.agentId, hostname: 'scripted', bootId: 'boot-1', resources, version: 'test', ...more })
  }

  /** Comes in and registers, and sends heartbeats from then on. */
  async join(token: string, more: Init<Register> = {}): Promise<void> {
    this.hello(token)
    const { heartbeatMs } = await this.next('Welcome')
    this.register(more)
    await this.next('Registered')
    let sequence = 0
    this.#beat = setInterval(() => this.send('Heartbeat', { sequence: ++sequence }), heartbeatMs / 2)
    this.#socket.once('close', () => this.hush())
  }

  /** The next message of a kind, whatever came before it; those of other kinds stay for later. Rejects when the link closes. */
  async next<K extends WireName>(kind: K): Promise<Messages[K]> {
    for (;;) {
      const at = this.#received.findIndex((m) => m.kind === kind)
      const [found] = at < 0 ? [] : this.#received.splice(at, 1)
      if (found !== undefined) return found.message as Messages[K]
      if (this.#isClosed) throw new Error(`the link closed before ${kind} came`)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  count(kind: WireName): number {
    return this.#received.filter((m) => m.kind === kind).length
  }

  /** Takes the next launch and says that it is in the ledger. */
  async takeLaunch(): Promise<Messages['Launch'] & { readonly frameworkId: string; readonly taskId: string }> {
    const launch = await this.next('Launch')
    const frameworkId = launch.group?.frameworkId ?? ''
    const taskId = launch.group?.tasks[0]?.taskId ?? ''
    this.send('LaunchAnswer', { frameworkId, taskId, attempt: launch.attempt, accepted: true })
    return { ...launch, frameworkId, taskId }
  }

  status(of: Pick<TaskStatus, 'frameworkId' | 'taskId' | 'attempt' | 'containerId'>, more: Init<TaskStatus>): number {
    this.#number += 1
    const { frameworkId, taskId, attempt, containerId } = of
    const { agentId } = this
    this.send('TaskStatus', { frameworkId, taskId, attempt, containerId, agentId, atMs: 1_000, number: this.#number, ...more })
    return this.#number
  }

  /** Says nothing more by itself, and stays connected. */
  hush(): void {
    clearInterval(this.#beat)
  }

  pause(): void {
    this.#socket.pause()
  }

  close(): void {
    this.#socket.destroy()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
