import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { Fault } from '../../base/fault.ts'
import type { Init } from '../../proto/codec.ts'
import { FrameDecoder } from '../../proto/frame.ts'
import type { LaunchAnswer, Messages, TaskStatus } from '../../proto/gen/messages.ts'
import { decodeWire, encodeWire, type WireMessage, type WireName } from '../../proto/wire.ts'

type Heard = (event: { readonly status: TaskStatus } | { readonly answer: LaunchAnswer }) => void

/** A master that only does what the bench tells it: one agent, no decisions, statuses acknowledged at once. */
export class ScriptedMaster {
  readonly epoch = 1
  readonly clusterId = randomBytes(16).toString('hex')
  readonly #path: string
  readonly #server: Server
  readonly #heard = new Map<string, Heard>()
  #socket: Socket | undefined
  #onRegistered: (() => void) | undefined

  constructor(path: string) {
    this.#path = path
    this.#server = createServer((socket) => this.#serve(socket))
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#path, resolve)
    })
  }

  /** Resolves when an agent has registered. */
  registered(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onRegistered = resolve
      signal.addEventListener('abort', () => reject(new Fault('timeout', 'no agent has registered')), { once: true })
    })
  }

  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void {
    if (this.#socket === undefined) throw new Fault('unavailable', 'the agent is not connected')
    this.#socket.write(encodeWire(kind, message))
  }

  /** Statuses and launch answers of one task, by its id. Returns how to stop listening. */
  listenTo(taskId: string, heard: Heard): () => void {
    this.#heard.set(taskId, heard)
    return () => this.#heard.delete(taskId)
  }

  close(): void {
    this.#socket?.destroy()
    this.#server.close()
    rmSync(this.#path, { force: true })
  }

  #serve(socket: Socket): void {
    const decoder = new FrameDecoder()
    socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) this.#take(socket, decodeWire(frame))
    })
    socket.on('error', () => socket.destroy()) // the agent was killed: nobody is left to talk to
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined
    })
  }

  #take(socket: Socket, message: WireMessage): void {
    const { clusterId, epoch } = this
    switch (message.kind) {
      case 'Hello':
        socket.write(
          encodeWire('Welcome', { protocol: 1, clusterId, nodeId: randomBytes(16).toString('hex'), epoch, heartbeatMs: 1_000 })
        )
        return
      case 'Register':
        this.#socket = socket
        this.send('Registered', { agentId: message.message.agentId, epoch })
        this.#onRegistered?.()
        return
      case 'Heartbeat':
        this.send('HeartbeatAnswer', { sequence: message.message.sequence })
        return
      case 'LaunchAnswer':
        this.#heard.get(message.message.taskId)?.({ answer: message.message })
        return
      case 'TaskStatus':
        this.send('StatusAcknowledgement', { number: message.message.number })
        this.#heard.get(message.message.taskId)?.({ status: message.message })
        return
      default:
        return
    }
  }
}
