import { defaultCapabilities } from '../../../isolators/capabilities.ts'
import { type Attempt, type Container, call, everyDevice, opens, perl, withCapability } from './attempt.ts'

const CLONE_NEWUSER = '0x10000000'
const unconfined: Container = { walls: { seccomp: 'unconfined' } }

const filtered = (name: string, program: readonly string[]): Attempt => ({ name, wall: 'seccomp', program, without: unconfined })

/** Calls that need no privilege at all: nothing but the filter stands before them. */
export const filteredCalls: readonly Attempt[] = [
  filtered('a user namespace by unshare', call('unshare', CLONE_NEWUSER)),
  filtered(
    'a user namespace by clone',
    perl(`my $p = syscall(SYS_clone, ${CLONE_NEWUSER} | 17, 0, 0, 0, 0); POSIX::_exit(0) if $p == 0; tried($p > 0)`)
  ),
  filtered(
    'a user namespace by clone3',
    perl(`my $a = pack('Q8', ${CLONE_NEWUSER}, 0, 0, 0, 17, 0, 0, 0);
      my $p = syscall(SYS_clone3, $a, 64); POSIX::_exit(0) if $p == 0; tried($p > 0)`)
  ),
  filtered('a key in a keyring of the kernel', call('add_key', `c('user'), c('hearth-escape'), c('x'), 1, -2`)),
  filtered('the session keyring', call('keyctl', '0, -3, 1')),
  filtered(
    'a key by request',
    perl(`syscall(SYS_request_key, c('user'), c('hearth-no-such'), 0, 0); tried($! == POSIX::ENOENT || $! == 126)`)
  ),
  filtered('io_uring', call('io_uring_setup', '8, $params', `my $params = "\\0" x 120`)),
  filtered('page faults handled outside the kernel', call('userfaultfd', '1')),
  filtered(
    'a socket of the kernel’s cryptography',
    perl(`socket(my $s, 38, 5, 0); tried(defined fileno($s // *STDIN) && fileno($s))`)
  ),
  filtered('addresses without randomness', call('personality', '0x40000'))
]

const guarded = (name: string, capability: string, program: readonly string[], given: Container = {}): Attempt => ({
  name,
  wall: `capability ${capability}`,
  program,
  given,
  without: withCapability(defaultCapabilities, `CAP_${capability}`)
})

const perfAttributes = `my $a = pack('LLQ', 1, 64, 0) . ("\\0" x 48)`
const mapAttributes = `my $a = pack('LLLL', 2, 4, 4, 1) . ("\\0" x 104)`

/** Calls and files behind a capability; the filter opens with it, so it is one wall. */
export const guardedCalls: readonly Attempt[] = [
  guarded('a mount', 'SYS_ADMIN', call('mount', `c('tmpfs'), c('/sandbox'), c('tmpfs'), 0, 0`)),
  guarded('a hidden file laid bare', 'SYS_ADMIN', call('umount2', `c('/proc/interrupts'), 2`)),
  guarded('/proc/sys made writable', 'SYS_ADMIN', call('mount', `c('proc'), c('/proc/sys'), c('proc'), 0x20 | 0x1000, 0`)),
  guarded('another host name', 'SYS_ADMIN', call('sethostname', `c('escaped'), 7`)),
  guarded(
    'a namespace entered',
    'SYS_ADMIN',
    call('setns', 'fileno($f), 0x04000000', `open(my $f, '<', '/proc/self/ns/uts') or POSIX::_exit(2)`)
  ),
  guarded('the accesses of a whole mount watched', 'SYS_ADMIN', call('fanotify_init', '0x4, 0')),
  guarded(
    'a trusted attribute',
    'SYS_ADMIN',
    call('setxattr', `c('/sandbox/f'), c('trusted.escape'), c('x'), 1, 0`, `open(my $f, '>', '/sandbox/f') or POSIX::_exit(2)`)
  ),
  guarded('a device node', 'MKNOD', call('mknodat', `-100, c('/sandbox/disk'), 0060600, (8 << 8)`)),
  guarded('a raw socket', 'NET_RAW', perl(`tried(socket(my $s, 2, 3, 1))`)),
  guarded('a packet socket', 'NET_RAW', perl(`tried(socket(my $s, 17, 3, 0))`)),
  guarded('an interface changed', 'NET_ADMIN', ['sh', '-c', 'ip link set lo mtu 1400 && exit 0; exit 1']),
  guarded(
    'a file of the host by its handle',
    'DAC_READ_SEARCH',
    perl(`open(my $f, '>', '/sandbox/f') or POSIX::_exit(2); open(my $d, '<', '/sandbox') or POSIX::_exit(2);
      my $handle = pack('Ll', 128, 0) . ("\\0" x 128); my $mount = pack('l', 0);
      syscall(SYS_name_to_handle_at, -100, c('/sandbox/f'), $handle, $mount, 0) == 0 or POSIX::_exit(2);
      tried(syscall(SYS_open_by_handle_at, fileno($d), $handle, 0) >= 0)`)
  ),
  guarded('the kernel’s log', 'SYSLOG', call('syslog', '3, $text, 4096', `my $text = "\\0" x 4096`)),
  guarded('a map of BPF', 'BPF', call('bpf', '0, $a, 120', mapAttributes)),
  guarded('the events of a whole CPU', 'PERFMON', call('perf_event_open', '$a, -1, 0, -1, 0', perfAttributes)),
  guarded('a priority above others', 'SYS_NICE', call('setpriority', '0, 0, -5')),
  guarded('the ports of the machine', 'SYS_RAWIO', call('iopl', '3')),
  guarded(
    'a module for the kernel',
    'SYS_MODULE',
    perl(`syscall(SYS_init_module, c(''), 0, c('')); tried($! == POSIX::ENOEXEC || $! == POSIX::EINVAL)`)
  )
]

/** Device nodes that the device cgroup refuses to open, though the container may make them. */
const madeNode = (name: string, mode: string, number: string): Attempt => ({
  name,
  wall: 'list of devices',
  program: perl(`syscall(SYS_mknodat, -100, c('/dev/made'), ${mode}, ${number}) == 0 or tried(0);
    my $fd = POSIX::open('/dev/made', O_RDONLY); tried(defined $fd)`),
  given: withCapability(defaultCapabilities, 'CAP_MKNOD', 'CAP_SYS_RAWIO', 'CAP_SYSLOG'),
  without: everyDevice
})

export const deviceAttempts: readonly Attempt[] = [
  madeNode('the memory of the machine', '0020600', '(1 << 8) | 1'),
  madeNode('the kernel’s log as a device', '0020600', '(1 << 8) | 11'),
  madeNode('a disk of the host', '0060600', '$ENV{BAIT_DISK} + 0'),
  {
    name: 'a write to a device that may only be read',
    wall: 'accesses of a device',
    program: opens('/dev/given', 'O_WRONLY'),
    given: { walls: { devices: [{ path: '/dev/kmsg', target: '/dev/given', access: 'r' }] } },
    without: { walls: { devices: [{ path: '/dev/kmsg', target: '/dev/given', access: 'rw' }] } }
  }
]
