import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Attempt, type Container, mounted, mountedWith, opens, perl } from './attempt.ts'

const user: Container = { process: { uid: 1000, gid: 1000 } }
const root: Container = { process: { uid: 0, gid: 0 } }
const drop =
  (...gone: readonly string[]) =>
  (options: readonly string[]): readonly string[] =>
    options.filter((option) => !gone.includes(option))

const becomesRoot = (program: string): readonly string[] => ['sh', '-c', `[ "$(${program} -u)" = 0 ] && exit 0; exit 1`]

/** Files: the container's own, those of volumes, and what lies behind them. */
export const fileAttempts: readonly Attempt[] = [
  {
    name: 'root by a set-user-id program',
    wall: 'no new privileges',
    program: becomesRoot('/suid/id'),
    given: user,
    without: { walls: { newPrivileges: true } }
  },
  {
    name: 'root by a set-user-id program of a volume',
    wall: 'nosuid of volumes',
    program: becomesRoot('/volume/id'),
    given: { ...user, walls: { newPrivileges: true } },
    without: mountedWith('/volume', drop('nosuid')),
    fill: (volume) => {
      copyFileSync('/usr/bin/id', join(volume, 'id'))
      chmodSync(join(volume, 'id'), 0o4755)
    }
  },
  {
    name: 'a device node of a volume',
    wall: 'nodev of volumes',
    program: opens('/volume/zero', 'O_RDONLY'),
    without: mountedWith('/volume', drop('nodev')),
    fill: (volume) => execFileSync('mknod', [join(volume, 'zero'), 'c', '1', '5'])
  },
  {
    name: 'a file of the host through a link in a volume',
    wall: 'own root',
    program: perl(`open(my $f, '<', '/volume/link') or tried(0); local $/; tried(<$f> eq $ENV{BAIT_TOKEN})`),
    without: ({ BAIT_FILE: file = '' }) => mounted(dirname(file), dirname(file)),
    fill: (volume, { BAIT_FILE: file = '' }) => symlinkSync(file, join(volume, 'link'))
  },
  {
    name: 'a write to a volume that is read-only',
    wall: 'read-only volumes',
    program: perl(`tried(open(my $f, '>', '/volume/made'))`),
    given: mountedWith('/volume', (options) => options.map((o) => (o === 'rw' ? 'ro' : o))),
    without: mountedWith('/volume', (options) => options.map((o) => (o === 'ro' ? 'rw' : o)))
  },
  {
    name: 'a write to the programs of the host',
    wall: 'read-only image mounts',
    program: perl(`tried(open(my $f, '>>', '/programs/marker'))`),
    without: mountedWith('/programs', (options) => options.map((o) => (o === 'ro' ? 'rw' : o)))
  },
  {
    name: 'a change of the image’s files',
    wall: 'read-only root',
    program: perl(`tried(open(my $f, '>>', '/etc/passwd'))`),
    given: { walls: { readOnlyRoot: true } },
    without: { walls: { readOnlyRoot: false } }
  },
  {
    name: 'a file that the task is not to see',
    wall: 'hidden paths of the task',
    program: perl(`open(my $f, '<', '/etc/group') or tried(0); tried(length(<$f> // ''))`),
    given: { walls: { hiddenPaths: ['/etc/group'] } },
    without: { walls: { hiddenPaths: [] } }
  },
  { name: 'a file of root, read', wall: 'own user', program: opens('/root/secret', 'O_RDONLY'), given: user, without: root },
  { name: 'the list of users, changed', wall: 'own user', program: opens('/etc/passwd', 'O_WRONLY'), given: user, without: root }
]

const limits = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 64 }
const mebibyte = 1024 * 1024

/** Too much of something that others need too. */
export const bombs: readonly Attempt[] = [
  {
    name: 'a bomb of processes',
    wall: 'limit of processes',
    program: perl(
      `for (1 .. 200) { my $p = fork(); tried(0) if !defined $p; if ($p == 0) { sleep 100; POSIX::_exit(0) } } tried(1)`
    ),
    given: { request: { limits: { ...limits, pidsMax: 64 } } },
    without: { request: { limits: { ...limits, pidsMax: 512 } } }
  },
  {
    name: 'a bomb of memory',
    wall: 'limit of memory',
    program: perl(`my $x = 'x' x (192 * 1024 * 1024); tried(length($x))`),
    given: { request: { limits: { ...limits, memoryBytes: 64 * mebibyte } } },
    without: { request: { limits: { ...limits, memoryBytes: 512 * mebibyte } } },
    refusedBy: [137]
  },
  {
    name: 'more open files than the limit',
    wall: 'process limits',
    program: perl(`syscall(SYS_setrlimit, 7, c(pack('QQ', 4096, 4096)));
      my @all; for (1 .. 600) { open(my $f, '<', '/dev/null') or tried(0); push @all, $f } tried(1)`),
    given: { walls: { limits: [{ name: 'nofile', soft: 256, hard: 256 }] }, ...user },
    without: { walls: { limits: [{ name: 'nofile', soft: 256, hard: 4096 }] } }
  },
  {
    name: 'memory filled through /dev/shm',
    wall: 'size of /dev/shm',
    program: fills('/dev/shm'),
    given: { walls: { shmBytes: mebibyte } },
    without: { walls: { shmBytes: 64 * mebibyte } }
  },
  {
    name: 'memory filled through /tmp',
    wall: 'size of /tmp',
    program: fills('/tmp'),
    given: { walls: { tmpBytes: mebibyte } },
    without: { walls: { tmpBytes: 64 * mebibyte } }
  }
]

function fills(folder: string): readonly string[] {
  return perl(`open(my $f, '>', '${folder}/big') or POSIX::_exit(2);
    for (1 .. 8) { defined(syswrite($f, 'x' x 1048576)) or tried(0) } tried(-s '${folder}/big' >= 8 << 20)`)
}
