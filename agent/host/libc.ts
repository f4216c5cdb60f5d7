import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Fault } from '../../base/fault.ts'

/** The few calls of libc that Node has no way to. Loaded only by the short-lived terminal program. */
export interface Libc {
  /** A unix socket of packets, connected; undefined where nobody listens. */
  connectPackets(path: string): number | undefined
  shutdown(fd: number, how: 'write' | 'both'): void
  /** A unix socket that listens on `path`. */
  listen(path: string): number
  /** Takes the descriptor that the first client of a listening socket sent (unix(7), SCM_RIGHTS). */
  receiveDescriptor(listening: number): number
  /** Orphans of our children become ours, so that their exit can be waited for (prctl(2), PR_SET_CHILD_SUBREAPER). */
  becomeSubreaper(): void
  /** The exit code of an ended child, 128 + signal where one ended it; undefined while it runs. */
  exitOf(pid: number): number | undefined
  setTerminalSize(fd: number, rows: number, columns: number): void
  /** Ends this process at once, whatever its threads are waiting for (_exit(2)). */
  exit(code: number): void
}

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_SEQPACKET = 5
const SOCK_CLOEXEC = 0o2000000
const SHUT_WR = 1
const SHUT_RDWR = 2
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_CMSG_CLOEXEC = 0x40000000
const PR_SET_CHILD_SUBREAPER = 36
const WNOHANG = 1
const TIOCSWINSZ = 0x5414

type Call = (...args: unknown[]) => number

async function declareCalls() {
  // Bundled, koffi looks for its native half below this directory: the build puts it there, beside the program.
  const host: { resourcesPath?: string } = process as object
  host.resourcesPath ??= dirname(fileURLToPath(import.meta.url))
  const { default: koffi } = await import('koffi')
  const library = koffi.load('libc.so.6')
  koffi.struct('iovec', { base: 'void *', length: 'size_t' })
  koffi.struct('msghdr', {
    name: 'void *',
    nameLength: 'uint32_t',
    parts: 'iovec *',
    partCount: 'size_t',
    control: 'void *',
    controlLength: 'size_t',
    flags: 'int'
  })
  const declare = (prototype: string): Call => {
    const call = library.func(prototype)
    return (...args) => Number(call(...args))
  }
  return {
    errno: () => koffi.errno(),
    socket: declare('int socket(int domain, int type, int protocol)'),
    connect: declare('int connect(int fd, const uint8_t *address, uint32_t length)'),
    bind: declare('int bind(int fd, const uint8_t *address, uint32_t length)'),
    listen: declare('int listen(int fd, int backlog)'),
    accept: declare('int accept(int fd, void *address, void *length)'),
    shutdown: declare('int shutdown(int fd, int how)'),
    close: declare('int close(int fd)'),
    recvmsg: declare('long recvmsg(int fd, msghdr *message, int flags)'),
    prctl: declare('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)'),
    waitpid: declare('int waitpid(int pid, uint8_t *status, int options)'),
    ioctl: declare('int ioctl(int fd, unsigned long request, uint8_t *value)'),
    exit: declare('void _exit(int code)')
  }
}

export async function loadLibc(): Promise<Libc> {
  const { errno, socket, connect, bind, listen, accept, shutdown, close, recvmsg, prctl, waitpid, ioctl, exit } =
    await declareCalls()
  const checked = (result: number, what: string): number => {
    if (result < 0) throw new Fault('unavailable', `the kernel refused ${what} (errno ${errno()})`)
    return result
  }
  return {
    exit: (code) => void exit(code),
    connectPackets(path) {
      const fd = checked(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), 'a socket')
      const address = socketAddress(path)
      if (connect(fd, address, address.length) === 0) return fd
      close(fd)
      return undefined
    },
    shutdown: (fd, how) => void shutdown(fd, how === 'write' ? SHUT_WR : SHUT_RDWR),
    listen(path) {
      const fd = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'a socket')
      const address = socketAddress(path)
      checked(bind(fd, address, address.length), `a socket at ${path}`)
      checked(listen(fd, 1), 'a listening socket')
      return fd
    },
    receiveDescriptor(listening) {
      const fd = checked(accept(listening, null, null), 'the connection of the runtime')
      const data = Buffer.alloc(4096)
      const control = Buffer.alloc(64)
      const message = {
        name: null,
        nameLength: 0,
        parts: [{ base: data, length: data.length }],
        partCount: 1,
        control,
        controlLength: control.length,
        flags: 0
      }
      checked(recvmsg(fd, message, MSG_CMSG_CLOEXEC), 'the terminal of the runtime')
      close(fd)
      return descriptorIn(control)
    },
    becomeSubreaper: () => void checked(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 'the part of a reaper'),
    exitOf(pid) {
      const status = Buffer.alloc(4)
      if (checked(waitpid(pid, status, WNOHANG), 'the exit of the program') !== pid) return undefined
      const word = status.readInt32LE(0)
      const signal = word & 0x7f
      return signal === 0 ? (word >> 8) & 0xff : 128 + signal
    },
    setTerminalSize(fd, rows, columns) {
      // struct winsize: rows, columns and two fields for pixels.
      ioctl(fd, TIOCSWINSZ, Buffer.from(Uint16Array.of(rows, columns, 0, 0).buffer))
    }
  }
}

/** sockaddr_un: family in the byte order of the machine, path, zero. */
function socketAddress(path: string): Buffer {
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + 1)
  address.writeUInt16LE(AF_UNIX, 0)
  address.write(path, 2)
  return address
}

/** struct cmsghdr of a 64-bit kernel: u64 length, i32 level, i32 type, then the descriptor. */
function descriptorIn(control: Buffer): number {
  if (control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) {
    throw new Fault('unavailable', 'the runtime sent no terminal')
  }
  return control.readInt32LE(16)
}
