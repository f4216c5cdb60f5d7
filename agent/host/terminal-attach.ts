import { close, constants, open, read, write } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'
import { errnoOf, Fault } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import { channels } from '../../proto/stream-frame.ts'
import { type FrameInput, feed, lostInput, parseSize } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import { loadLibc } from './libc.ts'
import type { TerminalOutput } from './terminal-output.ts'

/** One byte of stream and what conmon reads at once. */
const packetBytes = 1 + 8192
const stdinBytes = 8192

/** Bridges conmon's attach socket (SOCK_SEQPACKET, which Node cannot open) to frames. */
export async function attachToConmon(
  order: Readonly<Record<string, unknown>>,
  input: FrameInput,
  output: TerminalOutput,
  gone: AbortSignal
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
  // Also unblocks what is pending on the socket, which would hold up the end of this process.
  const hangUp = (): void => socket.shutdown('both')
  if (gone.aborted) hangUp()
  else gone.addEventListener('abort', hangUp, { once: true })
  output.ready()
  let fault: Fault | undefined
  feed(input, {
    stdin: (data) => socket.send(data),
    stdinEnd: () => socket.shutdown('write'),
    resize: (rows, columns) => resize(ctlPath, rows, columns),
    signal: () => undefined // the container's own signals go through kill
  }).then(hangUp, (e: unknown) => {
    fault = lostInput(e)
    hangUp()
  })
  for (let packet = await socket.receive(); packet !== undefined; packet = await socket.receive()) {
    const channel = packet[0] === 3 ? channels.stderr : channels.stdout
    await output.write(channel, packet.subarray(1))
  }
  if (fault === undefined) await output.flush()
  else await output.finish(faultFrame(fault))
}

interface PacketSocket {
  receive(): Promise<Buffer | undefined>
  send(data: Uint8Array): Promise<void>
  shutdown(how: 'write' | 'both'): void
}

async function connect(path: string): Promise<PacketSocket> {
  const libc = await loadLibc()
  // A socket's path has at most 107 bytes; through the descriptor of its folder it is always short enough.
  const folder = await promisify(open)(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY).catch((e: unknown) =>
    refuse(path, e)
  )
  const fd = libc.connectPackets(`/proc/self/fd/${folder}/${basename(path)}`)
  await promisify(close)(folder)
  if (fd === undefined) throw new Fault('conflict', `nobody listens on ${path}: the container has ended`)
  const buffer = Buffer.allocUnsafe(packetBytes)
  return {
    shutdown: (how) => libc.shutdown(fd, how),
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

const readSome = (fd: number, into: Buffer): Promise<number> =>
  new Promise((resolve) => {
    // ECONNRESET is conmon's end as well.
    read(fd, into, 0, into.length, null, (e, bytes) => resolve(e === null ? bytes : 0))
  })

const writePacket = (fd: number, packet: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    write(fd, packet, (e) => {
      // Where the container has ended, the reader sees it too.
      if (e === null || lostInput(e) === undefined) resolve()
      else reject(e)
    })
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
