import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { readCgroupLayout } from '../../../isolators/cgroup2/layout.ts'
import type { BaitFacts } from './attempt.ts'

/** Where the host has a tree of cgroups in which a folder can be made. */
export const cgroupMount = (): string => readCgroupLayout().unified ?? '/sys/fs/cgroup'

export interface Bait {
  /** What is wanted, for the programs' environment. */
  readonly facts: BaitFacts
  close(): Promise<void>
}

/** Holds System V objects under one key until its input ends. */
const ipcProgram = `my $k = $ARGV[0]; my $m = shmget($k, 4096, 01600); my $q = msgget($k, 01600); my $s = semget($k, 1, 01600);
defined $m && defined $q && defined $s or die $!; $| = 1; print "ready\\n"; <STDIN>;
shmctl($m, 0, 0); msgctl($q, 0, 0); semctl($s, 0, 0, 0)`

/** Things of the host that nobody in a container is to reach: a process, a file, sockets, System V objects. */
export async function layBait(directory: string): Promise<Bait> {
  const token = randomBytes(8).toString('hex')
  const folder = join(directory, 'bait')
  mkdirSync(folder, { mode: 0o755 })
  const file = join(folder, 'secret')
  writeFileSync(file, token)
  // It holds no capabilities, so that nothing but the namespace keeps a container's root from tracing it.
  const drop = ['--bounding-set', '-all', '--inh-caps', '-all']
  const victim = spawn('setpriv', [...drop, 'sh', '-c', 'trap "" USR2; while :; do sleep 1000; done'], {
    env: { PATH: process.env['PATH'], SECRET: token },
    stdio: 'ignore',
    detached: true
  })
  const key = String(randomBytes(3).readUIntBE(0, 3) + 1)
  const ipc = spawn('perl', ['-e', ipcProgram, key], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(ipc.stdout, 'data')
  const socket = `hearth-bait-${token}`
  const tcp = await listening((server, ready) => server.listen(0, '127.0.0.1', ready))
  const unix = await listening((server, ready) => server.listen(`\0${socket}`, ready))
  const address = tcp.address()
  return {
    facts: {
      BAIT_TOKEN: token,
      BAIT_FILE: file,
      BAIT_PID: String(victim.pid),
      BAIT_KEY: key,
      BAIT_SOCKET: socket,
      BAIT_PORT: String(typeof address === 'object' ? address?.port : ''),
      BAIT_HOSTNAME: hostname(),
      BAIT_DISK: String(firstDisk())
    },
    async close() {
      process.kill(-(victim.pid ?? 0), 'SIGKILL')
      ipc.stdin.end()
      await Promise.all([ended(victim), ended(ipc), closed(tcp), closed(unix)])
    }
  }
}

/** Major and minor as mknod(2) takes them; /proc/partitions begins with two lines of words. */
function firstDisk(): number {
  const [, major = '0', minor = '0'] = /^\s*(\d+)\s+(\d+)\s/m.exec(readFileSync('/proc/partitions', 'utf8')) ?? []
  return (Number(major) << 8) | Number(minor)
}

const ended = (child: ChildProcess): Promise<unknown> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit')

const closed = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()))

function listening(listen: (server: Server, ready: () => void) => void): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    listen(server, () => resolve(server))
  })
}
