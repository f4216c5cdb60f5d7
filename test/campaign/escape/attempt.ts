import { arch } from 'node:os'
import type { IsolatorRequest, ProcessRequest } from '../../../isolators/isolator.ts'
import type { WallRequest } from '../../../isolators/walls.ts'

/** What a container is besides the usual one of the suite (stage.ts). */
export interface Container {
  readonly walls?: Partial<WallRequest>
  readonly request?: Partial<Omit<IsolatorRequest, 'walls' | 'process'>>
  readonly process?: Partial<ProcessRequest>
  /** For what no task can ask: the runtime spec itself is changed. */
  readonly spec?: (spec: Spec) => Spec
}

/** The parts of the runtime spec that controls change. */
export interface Spec {
  readonly hostname?: string
  readonly mounts: readonly SpecMount[]
  readonly linux: {
    readonly namespaces: readonly { readonly type: string }[]
    readonly maskedPaths: readonly string[]
    readonly readonlyPaths: readonly string[]
    readonly resources: { readonly devices: readonly object[] }
  }
}

interface SpecMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/**
 * One way out of a container. Its program ends with 0 where it got out and with 1 where it was refused. It counts where it is
 * refused in the container with the wall, and gets out of the one that differs by this wall alone.
 */
export interface Attempt {
  readonly name: string
  readonly wall: string
  readonly program: readonly string[]
  /** Other walls that are taken down in both containers, so that this one stands alone. */
  readonly given?: Container
  /** The wall, taken down. */
  readonly without: Container | ((bait: BaitFacts) => Container)
  /** Exit codes besides 1 that are a refusal: 137 is the end by the kernel. */
  readonly refusedBy?: readonly number[]
  /** Fills the volume, on the host. */
  readonly fill?: (volume: string, bait: BaitFacts) => void
}

/** The environment of every attempt (bait.ts). */
export type BaitFacts = Readonly<Record<string, string>>

export const merged = (a: Container, b: Container): Container => ({
  walls: { ...a.walls, ...b.walls },
  request: { ...a.request, ...b.request },
  process: { ...a.process, ...b.process },
  spec: (spec) => (b.spec ?? same)((a.spec ?? same)(spec))
})

const same = (spec: Spec): Spec => spec

/** Numbers of the system calls, x86-64 first, then 64-bit ARM; a call that ARM has not is refused there in both containers. */
const numbers: Readonly<Record<string, readonly [number, number]>> = {
  add_key: [248, 217],
  bpf: [321, 280],
  clone: [56, 220],
  clone3: [435, 435],
  fanotify_init: [300, 262],
  init_module: [175, 105],
  io_uring_setup: [425, 425],
  iopl: [172, 9999],
  keyctl: [250, 219],
  mknodat: [259, 33],
  mount: [165, 40],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  perf_event_open: [298, 241],
  personality: [135, 92],
  ptrace: [101, 117],
  request_key: [249, 218],
  sethostname: [170, 161],
  setns: [308, 268],
  setpriority: [141, 140],
  setrlimit: [160, 164],
  setxattr: [188, 5],
  syslog: [103, 116],
  umount2: [166, 39],
  unshare: [272, 97],
  userfaultfd: [323, 282]
}

const prelude = `use POSIX; $| = 1;
sub c { my $copy = $_[0]; return $copy } # syscall takes no constant text
sub tried { my ($in) = @_; print $in ? "got in\\n" : "refused: $!\\n"; POSIX::_exit($in ? 0 : 1) }
`

/** A Perl program in which SYS_name is a system call's number; `tried(TRUTH)` ends it. */
export function perl(body: string): readonly string[] {
  const known = body.replace(/SYS_([a-z0-9_]+)/g, (_, name: string) => {
    const row = numbers[name]
    if (row === undefined) throw new Error(`no number of the system call ${name}`)
    return String(arch() === 'arm64' ? row[1] : row[0])
  })
  return ['/usr/bin/perl', '-e', `${prelude}${known}`]
}

/** The call with these arguments gets in where it does not answer -1. */
export const call = (name: string, args: string, before = ''): readonly string[] =>
  perl(`${before}; tried(syscall(SYS_${name}, ${args}) != -1)`)

/** Ends with 0 where opening the file for this gets in. Nothing is read or written. */
export const opens = (path: string, flags: 'O_RDONLY' | 'O_WRONLY'): readonly string[] =>
  perl(`my $fd = POSIX::open(${JSON.stringify(path)}, ${flags}); tried(defined $fd)`)

/** Ends with 0 where the file holds at least one byte for the reader. */
export const reads = (path: string): readonly string[] =>
  perl(`open(my $f, '<', ${JSON.stringify(path)}) or tried(0); my $n = sysread($f, my $bytes, 64); tried($n)`)

/** With capabilities besides the usual ones. */
export const withCapability = (usual: readonly string[], ...more: readonly string[]): Container => ({
  walls: { capabilities: [...usual, ...more] }
})

export const withoutNamespace = (type: string): Container => ({
  spec: (spec) => ({ ...spec, linux: { ...spec.linux, namespaces: spec.linux.namespaces.filter((n) => n.type !== type) } })
})

export const unmasked: Container = { spec: (spec) => ({ ...spec, linux: { ...spec.linux, maskedPaths: [] } }) }
export const writablePaths: Container = { spec: (spec) => ({ ...spec, linux: { ...spec.linux, readonlyPaths: [] } }) }
export const everyDevice: Container = {
  spec: (spec) => ({
    ...spec,
    linux: { ...spec.linux, resources: { ...spec.linux.resources, devices: [{ allow: true, access: 'rwm' }] } }
  })
}

/** The mount at this place with other options. */
export const mountedWith = (destination: string, change: (options: readonly string[]) => readonly string[]): Container => ({
  spec: (spec) => ({
    ...spec,
    mounts: spec.mounts.map((m) => (m.destination === destination ? { ...m, options: change(m.options) } : m))
  })
})

/** One mount more; its source is a path of the host. */
export const mounted = (destination: string, source: string): Container => ({
  spec: (spec) => ({
    ...spec,
    mounts: [...spec.mounts, { destination, type: 'bind', source, options: ['rbind', 'rw', 'rprivate'] }]
  })
})
