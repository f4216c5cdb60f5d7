import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { randomId } from '../../../base/random.ts'
import { encodeMessage } from '../../../proto/codec.ts'
import { encodeFrame, FrameDecoder } from '../../../proto/frame.ts'
import { writeCorked } from './corked.ts'
import { frameTypes, framework } from './hearth-wire.ts'
import { type StoreClient, Waiting } from './store-client.ts'

/** Each slot is a session of its own, as in the master's `Proposer`: repeats would count once. */
export async function dialHearth(port: number): Promise<StoreClient> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  return new HearthClient(socket)
}

class HearthClient implements StoreClient {
  readonly ended: Promise<void>
  readonly #socket: Socket
  readonly #waiting = new Waiting()
  readonly #sessions = new Map<number, { readonly id: string; seq: number }>()
  #requests = 0

  constructor(socket: Socket) {
    this.#socket = socket
    const decoder = new FrameDecoder()
    socket.on('data', (chunk) => {
      for (const { type, body } of decoder.push(chunk))
        this.#answered(type, Buffer.from(body.buffer, body.byteOffset, body.length))
    })
    socket.on('error', () => undefined) // 'close' follows.
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#waiting.fail(new Error('the connection ended'))
        resolve()
      })
    })
  }

  put(slot: number, key: string, value: Uint8Array): Promise<void> {
    const session = this.#sessions.get(slot) ?? { id: randomId(), seq: 0 }
    this.#sessions.set(slot, session)
    session.seq += 1
    const storeTransaction = { frameworkId: framework, writes: [{ key, value }] }
    return this.#ask(frameTypes.put, encodeMessage('Command', { session: session.id, seq: session.seq, storeTransaction }))
  }

  read(key: string): Promise<void> {
    return this.#ask(frameTypes.read, Buffer.from(key))
  }

  close(): void {
    this.#socket.destroy()
  }

  #ask(type: number, body: Uint8Array): Promise<void> {
    this.#requests += 1
    const head = Buffer.allocUnsafe(4 + body.length)
    head.writeUInt32LE(this.#requests, 0)
    head.set(body, 4)
    writeCorked(this.#socket, encodeFrame(type, head))
    return this.#waiting.add(this.#requests)
  }

  #answered(type: number, body: Buffer): void {
    const id = body.readUInt32LE(0)
    this.#waiting.settle(id, type === frameTypes.done ? undefined : new Error(body.subarray(4).toString()))
  }
}
