import { once } from 'node:events'
import { type ClientHttp2Session, connect } from 'node:http2'
import protobuf from 'protobufjs/minimal.js'
import type { StoreClient } from './store-client.ts'

/** gRPC by hand over one HTTP/2 connection: less work for the generator than a library would be. */
export async function dialEtcd(port: number): Promise<StoreClient> {
  const session = connect(`http://127.0.0.1:${port}`)
  session.on('error', () => undefined) // 'close' follows.
  const closed = once(session, 'close').then(() => {
    throw new Error('the connection ended')
  })
  await Promise.race([once(session, 'connect'), closed])
  closed.catch(() => undefined)
  return new EtcdClient(session)
}

class EtcdClient implements StoreClient {
  readonly ended: Promise<void>
  readonly #session: ClientHttp2Session

  constructor(session: ClientHttp2Session) {
    this.#session = session
    this.ended = new Promise((resolve) => {
      if (session.closed) resolve()
      session.once('close', () => resolve())
    })
  }

  put(_slot: number, key: string, value: Uint8Array): Promise<void> {
    return this.#call('/etcdserverpb.KV/Put', putRequest(key, value))
  }

  read(key: string): Promise<void> {
    return this.#call('/etcdserverpb.KV/Range', protobuf.Writer.create().uint32(10).bytes(Buffer.from(key)).finish())
  }

  close(): void {
    this.#session.destroy()
  }

  #call(path: string, message: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#session.destroyed) throw new Error('the connection ended')
      const stream = this.#session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers'
      })
      let status: unknown
      stream.on('response', (headers) => {
        status = headers['grpc-status'] ?? status
      })
      stream.on('trailers', (headers) => {
        status = headers['grpc-status'] ?? status
      })
      stream.on('error', reject)
      stream.on('close', () => (String(status) === '0' ? resolve() : reject(new Error(`grpc-status ${String(status)}`))))
      stream.resume()
      const frame = Buffer.allocUnsafe(5 + message.length)
      frame[0] = 0
      frame.writeUInt32BE(message.length, 1)
      frame.set(message, 5)
      stream.end(frame)
    })
  }
}

const putRequest = (key: string, value: Uint8Array): Uint8Array =>
  protobuf.Writer.create().uint32(10).bytes(Buffer.from(key)).uint32(18).bytes(value).finish()
