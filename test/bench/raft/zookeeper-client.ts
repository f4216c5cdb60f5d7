import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { writeCorked } from './corked.ts'
import { type StoreClient, Waiting } from './store-client.ts'

const types = { create: 1, getData: 4, setData: 5, sync: 9 } as const
const nodeExists = -110
const sessionMs = 30_000

/** ZooKeeper's client protocol (jute), as far as the bench needs it. A read is `sync` and `getData`, pipelined. */
export async function dialZookeeper(port: number): Promise<StoreClient> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  const client = new ZookeeperClient(socket)
  await client.greeted
  return client
}

class ZookeeperClient implements StoreClient {
  readonly ended: Promise<void>
  readonly greeted: Promise<void>
  readonly #socket: Socket
  readonly #waiting = new Waiting()
  /** Keys that are known to be there: `setData` makes none. */
  readonly #made = new Set<string>()
  #held: Buffer = Buffer.alloc(0)
  #requests = 0

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#push(chunk))
    socket.on('error', () => undefined) // 'close' follows.
    this.ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#waiting.fail(new Error('the connection ended'))
        resolve()
      })
    })
    this.greeted = this.#waiting.add(0)
    const hello = Buffer.alloc(49)
    hello.writeInt32BE(45, 0)
    hello.writeInt32BE(sessionMs, 16)
    hello.writeInt32BE(16, 28)
    socket.write(hello)
  }

  async put(_slot: number, key: string, value: Uint8Array): Promise<void> {
    if (!this.#made.has(key)) {
      await this.#create(key)
      this.#made.add(key)
    }
    const body = Buffer.concat([text(`/${key}`), buffer(value), int(-1)])
    await this.#ask(types.setData, body)
  }

  async read(key: string): Promise<void> {
    const path = text(`/${key}`)
    const synced = this.#ask(types.sync, path)
    await Promise.all([synced, this.#ask(types.getData, Buffer.concat([path, Buffer.from([0])]))])
  }

  close(): void {
    this.#socket.destroy()
  }

  #create(key: string): Promise<void> {
    const everybody = Buffer.concat([int(1), int(31), text('world'), text('anyone')])
    return this.#ask(types.create, Buffer.concat([text(`/${key}`), buffer(new Uint8Array()), everybody, int(0)]))
  }

  #ask(type: number, body: Buffer): Promise<void> {
    this.#requests += 1
    writeCorked(this.#socket, Buffer.concat([int(8 + body.length), int(this.#requests), int(type), body]))
    return this.#waiting.add(this.#requests)
  }

  #push(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    let at = 0
    while (this.#held.length - at >= 4) {
      const end = at + 4 + this.#held.readInt32BE(at)
      if (this.#held.length < end) break
      this.#answered(this.#held.subarray(at + 4, end))
      at = end
    }
    this.#held = this.#held.subarray(at)
  }

  #answered(body: Buffer): void {
    if (this.#requests === 0) {
      const timeout = body.readInt32BE(4)
      this.#waiting.settle(0, timeout > 0 ? undefined : new Error('the session was refused'))
      return
    }
    const error = body.readInt32BE(12)
    this.#waiting.settle(body.readInt32BE(0), error === 0 || error === nodeExists ? undefined : new Error(`error ${error}`))
  }
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const buffer = (bytes: Uint8Array): Buffer => Buffer.concat([int(bytes.length), bytes])
const text = (value: string): Buffer => buffer(Buffer.from(value))
