import { close, constants, open, read, write } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import { errnoOf, Fault } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import { channels } from '../../proto/stream-frame.ts'
import { type FrameInput, feed, parseSize } from './frame-input.ts'
import type { TerminalOutput } from './terminal-output.ts'

const AF_UNIX = 1
const SOCK_SEQPACKET = 5
const SOCK_CLOEXEC = 0o2000000
const SHUT_WR = 1
const SHUT_RDWR = 2
/** One byte of stream and what conmon reads at once. */
const packetBytes = 1 + 8192
const stdinBytes = 8192

/** Bridges conmon's attach socket (SOCK_SEQPACKET, which Node cannot open) to frames. */
export async function attachToConmon(
  order: Readonly<Record<string, unknown>>,
  input: FrameInput,
  output: TerminalOutput
): Promise<void> {
  const { socketPath, ctlPath } = order
  if (typeof socketPath !== 'string' || typeof ctlPath !== 'string') {
    throw new Fault('invalid', 'an attach order holds socketPath and ctlPath')
  }
  const socket = await connect(socketPath)
  if (order['rows'] !== undefined && order['rows'] !== 0) {
    const { rows, columns } = parseSize(order)
    await resize(ctlPath, rows, columns)
  }
  output.ready()
  feed(input, {
    stdin: (data) => socket.send(data),
    stdinEnd: () => socket.shutdown(SHUT_WR),
    resize: (rows, columns) => resize(ctlPath, rows, columns),
    signal: () => undefined // the container's own signals go through kill
  }).then(
    // Also unblocks the pending read, which would hold up the end of this process.
    () => socket.shutdown(SHUT_RDWR),
    () => socket.shutdown(SHUT_RDWR)
  )
  for (let packet = await socket.receive(); packet !== undefined; packet = await socket.receive()) {
    const channel = packet[0] === 3 ? channels.stderr : channels.stdout
    await output.write(channel, packet.subarray(1))
  }
  await output.flush()
}

interface PacketSocket {
  receive(): Promise<Buffer | undefined>
  send(data: Uint8Array): Promise<void>
  shutdown(how: number): void
}

async function connect(path: string): Promise<PacketSocket> {
  const { default: koffi } = await import('koffi')
  const libc = koffi.load('libc.so.6')
  const socket = libc.func('int socket(int domain, int type, int protocol)')
  const connectTo = libc.func('int connect(int fd, const uint8_t *address, uint32_t length)')
  const shutdown = libc.func('int shutdown(int fd, int how)')
  const fd: unknown = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
  if (typeof fd !== 'number' || fd < 0) throw new Fault('unavailable', 'the kernel gave no packet socket')
  // A socket's path has at most 107 bytes; through the descriptor of its folder it is always short enough.
  const folder = await promisify(open)(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY).catch((e: unknown) =>
    refuse(path, e)
  )
  const address = socketAddress(`/proc/self/fd/${folder}/${basename(path)}`)
  const refused = connectTo(fd, address, address.length) !== 0
  await promisify(close)(folder)
  if (refused) throw new Fault('conflict', `the container does not listen on ${path} (errno ${koffi.errno()}): it has ended`)
  const buffer = Buffer.allocUnsafe(packetBytes)
  return {
    shutdown: (how) => void shutdown(fd, how),
    async receive() {
      const bytes = await readSome(fd, buffer)
      return bytes === 0 ? undefined : Buffer.from(buffer.subarray(0, bytes))
    },
    async send(data) {
      for (let at = 0; at < data.length; at += stdinBytes) await writePacket(fd, data.subarray(at, at + stdinBytes))
    }
  }
}

function refuse(path: string, e: unknown): never {
  if (errnoOf(e) === 'ENOENT') throw new Fault('conflict', `there is no attach socket ${path}: the container has ended`)
  throw e
}

/** sockaddr_un: family in the byte order of the machine, path, zero. */
function socketAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1)
  address.writeUInt16LE(AF_UNIX, 0)
  address.write(path, 2)
  return address
}

const readSome = (fd: number, into: Buffer): Promise<number> =>
  new Promise((resolve) => {
    // ECONNRESET is conmon's end as well.
    read(fd, into, 0, into.length, null, (e, bytes) => resolve(e === null ? bytes : 0))
  })

const writePacket = (fd: number, packet: Uint8Array): Promise<void> =>
  new Promise((resolve) => {
    // EPIPE: the container has ended, and the reader sees it too.
    write(fd, packet, () => resolve())
  })

/** conmon's control fifo takes `1 HEIGHT WIDTH`. Nobody reads it once the container has ended. */
async function resize(ctlPath: string, rows: number, columns: number): Promise<void> {
  try {
    const fifo = await openFile(ctlPath, constants.O_WRONLY | constants.O_NONBLOCK)
    await withHandle(fifo, async (f) => void (await f.write(`1 ${rows} ${columns}\n`)))
  } catch (e) {
    const errno = errnoOf(e)
    if (errno !== 'ENXIO' && errno !== 'ENOENT' && errno !== 'EPIPE') throw e
  }
}
