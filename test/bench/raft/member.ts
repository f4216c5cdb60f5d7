import { createServer } from 'node:http2'
import { createServer as createTcpServer, type Socket } from 'node:net'
import protobuf from 'protobufjs/minimal.js'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { openWithPeers } from '../../../master/peers/open-peers.ts'
import { decodeMessage } from '../../../proto/codec.ts'
import { encodeFrame, type Frame, FrameDecoder } from '../../../proto/frame.ts'
import { writeCorked } from './corked.ts'
import { frameTypes, framework } from './hearth-wire.ts'

/**
 * One of three durable masters as a process: replica, log, state machine and peers of the product, and a front through which the
 * generator reaches `replica`. Tells the bench on its channel when it begins and ends to lead.
 */

interface MemberOrder {
  readonly config: Parameters<typeof openWithPeers>[1]
  readonly clientPort: number
  readonly http2Port: number
}

const { config, clientPort, http2Port } = JSON.parse(process.argv[2] ?? '{}') as MemberOrder
const replica = await openWithPeers({ log: silentLog, clock: systemClock }, config)
const { signal } = new AbortController()
replica.onFatal((failure) => {
  process.stderr.write(`${failure.message}\n`)
  process.exit(1)
})

/** Undefined where it is done, else why not. */
async function put(
  session: string,
  seq: number,
  transaction: Parameters<typeof replica.propose>[2]
): Promise<string | undefined> {
  const outcome = await replica.propose(session, seq, transaction, signal)
  if (outcome.kind === 'applied') return outcome.answer.refused ? outcome.answer.message : undefined
  return outcome.kind
}

async function read(key: string): Promise<Uint8Array | undefined> {
  await replica.read(signal)
  return replica.state.storeOf(framework).get(key)?.value
}

function answer(socket: Socket, type: number, id: number, body: Uint8Array): void {
  const bytes = Buffer.allocUnsafe(4 + body.length)
  bytes.writeUInt32LE(id, 0)
  bytes.set(body, 4)
  if (!socket.destroyed) writeCorked(socket, encodeFrame(type, bytes))
}

const nothing = new Uint8Array()

function serve(socket: Socket, { type, body }: Frame): void {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  const id = bytes.readUInt32LE(0)
  const refused = (e: unknown): void => answer(socket, frameTypes.refused, id, Buffer.from(String(e)))
  if (type === frameTypes.read) {
    read(bytes.subarray(4).toString()).then((value) => answer(socket, frameTypes.done, id, value ?? nothing), refused)
    return
  }
  const { session, seq, storeTransaction } = decodeMessage('Command', bytes.subarray(4))
  put(session, seq, { storeTransaction }).then(
    (why) => (why === undefined ? answer(socket, frameTypes.done, id, nothing) : refused(why)),
    refused
  )
}

createTcpServer((socket) => {
  const decoder = new FrameDecoder()
  socket.setNoDelay(true)
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    for (const frame of decoder.push(chunk)) serve(socket, frame)
  })
}).listen(clientPort, '127.0.0.1')

/** Key and value of a PutRequest, the key of a RangeRequest: fields 1 and 2, of bytes. */
function fieldsOf(body: Buffer): { readonly key: string; readonly value: Uint8Array } {
  const reader = protobuf.Reader.create(body.subarray(5))
  let key = ''
  let value: Uint8Array = nothing
  while (reader.pos < reader.len) {
    const tag = reader.uint32()
    if (tag === 10) key = Buffer.from(reader.bytes()).toString()
    else if (tag === 18) value = reader.bytes()
    else reader.skipType(tag & 7)
  }
  return { key, value }
}

async function answerCall(path: string, body: Buffer): Promise<Uint8Array> {
  const { key, value } = fieldsOf(body)
  if (path.endsWith('/Range')) {
    const found = await read(key)
    const row = protobuf.Writer.create()
      .uint32(10)
      .bytes(Buffer.from(key))
      .uint32(42)
      .bytes(found ?? nothing)
      .finish()
    return protobuf.Writer.create().uint32(18).bytes(row).finish()
  }
  const why = await put('', 0, { storeTransaction: { frameworkId: framework, writes: [{ key, value }] } })
  if (why !== undefined) throw new Error(why)
  return nothing
}

const http2 = createServer()
http2.on('sessionError', () => undefined)
http2.on('stream', (stream, headers) => {
  const parts: Buffer[] = []
  stream.on('error', () => undefined)
  stream.on('data', (part: Buffer) => parts.push(part))
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    let status = '0'
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }))
    answerCall(String(headers[':path']), Buffer.concat(parts)).then(
      (message) => {
        const frame = Buffer.alloc(5 + message.length)
        frame.writeUInt32BE(message.length, 1)
        frame.set(message, 5)
        stream.end(frame)
      },
      () => {
        status = '14'
        stream.end()
      }
    )
  })
})
http2.listen(http2Port, '127.0.0.1')

replica.leadership.watch(({ kind }) => {
  if (kind === 'gained') {
    void replica.propose(
      '',
      0,
      { registerFramework: { framework: { frameworkId: framework, name: framework, roles: ['*'] } } },
      signal
    )
  }
  process.send?.({ kind })
}, signal)
process.send?.({ kind: 'ready' })
process.on('SIGTERM', () => void replica.close().then(() => process.exit(0)))
