import {
  type Attempt,
  type Container,
  mounted,
  mountedWith,
  opens,
  perl,
  reads,
  unmasked,
  withoutNamespace,
  writablePaths
} from './attempt.ts'
import { cgroupMount } from './bait.ts'

const seen = (name: string, type: string, program: readonly string[], without: Container = withoutNamespace(type)): Attempt => ({
  name,
  wall: `${type} namespace`,
  program,
  without
})

const hostNetwork: Container = { request: { network: 'host' } }

/** What others have, seen from a container. The bait (bait.ts) is in the environment. */
export const viewAttempts: readonly Attempt[] = [
  seen('a signal to a process of the host', 'pid', perl(`tried(kill('USR2', $ENV{BAIT_PID}))`)),
  seen(
    'the environment of a process of the host',
    'pid',
    perl(`open(my $f, '<', "/proc/$ENV{BAIT_PID}/environ") or tried(0);
    local $/; tried(index(<$f>, "SECRET=$ENV{BAIT_TOKEN}") >= 0)`)
  ),
  seen(
    'a process of the host traced',
    'pid',
    perl(`my $t = syscall(SYS_ptrace, 0x4206, $ENV{BAIT_PID} + 0, 0, 0); tried($t == 0)`)
  ),
  seen(
    'the files of the host through a process of it',
    'pid',
    perl(`open(my $f, '<', "/proc/$ENV{BAIT_PID}/root$ENV{BAIT_FILE}") or tried(0);
    local $/; tried(<$f> eq $ENV{BAIT_TOKEN})`)
  ),
  seen('a shared memory of the host', 'ipc', perl(`tried(defined shmget($ENV{BAIT_KEY}, 4096, 0))`)),
  seen('a message queue of the host', 'ipc', perl(`tried(defined msgget($ENV{BAIT_KEY}, 0))`)),
  seen('a semaphore of the host', 'ipc', perl(`tried(defined semget($ENV{BAIT_KEY}, 1, 0))`)),
  seen(
    'a port on the host’s loopback',
    'network',
    perl(`use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0) or POSIX::_exit(2);
    tried(connect($s, sockaddr_in($ENV{BAIT_PORT}, inet_aton('127.0.0.1'))))`),
    hostNetwork
  ),
  seen(
    'an abstract socket of the host',
    'network',
    perl(`use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or POSIX::_exit(2);
    my $n = "\\0$ENV{BAIT_SOCKET}"; tried(connect($s, pack('Sa*', AF_UNIX, $n)) || connect($s, pack('Sa108', AF_UNIX, $n)))`),
    hostNetwork
  ),
  seen(
    'the list of the host’s sockets',
    'network',
    perl(`open(my $f, '<', '/proc/net/unix') or tried(0);
    local $/; tried(index(<$f>, $ENV{BAIT_SOCKET}) >= 0)`),
    hostNetwork
  ),
  seen('the host’s name', 'uts', perl(`tried((POSIX::uname())[1] eq $ENV{BAIT_HOSTNAME})`), {
    spec: (spec) => {
      const { hostname: _, ...rest } = withoutNamespace('uts').spec?.(spec) ?? spec
      return rest
    }
  }),
  seen(
    'the place among the host’s cgroups',
    'cgroup',
    perl(`open(my $f, '<', '/proc/self/cgroup') or tried(0);
    local $/; tried(index(<$f>, $ENV{BAIT_CGROUP}) >= 0)`)
  )
]

const hidden = (path: string): Attempt => ({ name: path, wall: 'hidden paths', program: reads(path), without: unmasked })
const readOnly = (path: string): Attempt => ({
  name: `${path} opened for writing`,
  wall: 'read-only paths',
  program: opens(path, 'O_WRONLY'),
  without: writablePaths
})

/** Files of the kernel. Nothing is written to those that open. */
export const kernelFiles: readonly Attempt[] = [
  hidden('/proc/interrupts'),
  hidden('/proc/timer_list'),
  hidden('/proc/keys'),
  hidden('/proc/vmallocinfo'),
  hidden('/proc/kpagecount'),
  {
    name: '/sys/firmware',
    wall: 'hidden paths',
    program: perl(`opendir(my $d, '/sys/firmware') or tried(0); tried(scalar(grep { !/^\\./ } readdir($d)))`),
    without: unmasked
  },
  readOnly('/proc/sys/kernel/core_pattern'),
  readOnly('/proc/sys/kernel/panic'),
  readOnly('/proc/sysrq-trigger'),
  readOnly('/proc/irq/default_smp_affinity'),
  {
    name: 'a setting below /sys opened for writing',
    wall: 'read-only /sys',
    program: opens('/sys/kernel/profiling', 'O_WRONLY'),
    without: mountedWith('/sys', (options) => options.map((o) => (o === 'ro' ? 'rw' : o)))
  },
  {
    name: 'another limit in the own cgroup',
    wall: 'no file system of cgroups',
    program: perl(`open(my $m, '<', '/proc/mounts') or POSIX::_exit(2);
      for (<$m>) { my (undef, $at, $type) = split; next if $type !~ /^cgroup/; my $d = "$at$ENV{BAIT_CGROUP}/escaped";
        if (mkdir($d)) { rmdir($d); tried(1) } } tried(0)`),
    without: mounted('/cgroups', cgroupMount())
  }
]
