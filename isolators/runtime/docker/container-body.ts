import { Fault } from '../../../base/fault.ts'
import type { OciMount } from '../../isolator.ts'
import type { RuntimeSpec } from '../runtime.ts'

/**
 * The isolators' work as Docker's API takes it (Engine API 1.41, ContainerCreate), out of the same runtime spec that runc gets.
 * What is in the spec and has no place here is refused by name: never is a wall left out quietly. Pure.
 */
export function containerBody(spec: RuntimeSpec, of: ContainerWish): Readonly<Record<string, unknown>> {
  knownKeys('', spec, ['ociVersion', 'process', 'root', 'hostname', 'mounts', 'annotations', 'linux'])
  const process = part(spec, 'process')
  const linux = part(spec, 'linux')
  const [program, ...rest] = process['args'] as readonly string[]
  const user = part(process, 'user')
  const hasNetwork = !namespacesOf(linux).includes('network')
  return {
    Image: of.imageDigest,
    Entrypoint: [program],
    Cmd: rest,
    Env: process['env'],
    WorkingDir: process['cwd'],
    User: `${user['uid']}:${user['gid']}`,
    ...(hasNetwork ? {} : { Hostname: spec['hostname'], NetworkDisabled: true }),
    Tty: of.terminal,
    OpenStdin: of.openStdin,
    StdinOnce: of.openStdin && !of.terminal,
    AttachStdin: of.openStdin,
    AttachStdout: false,
    AttachStderr: false,
    Labels: of.labels,
    // The task's probes are Hearth's.
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      ...hostOf(spec, linux, process),
      GroupAdd: ((user['additionalGids'] ?? []) as readonly number[]).map(String),
      NetworkMode: hasNetwork ? 'host' : 'none',
      CgroupParent: of.cgroupParent,
      LogConfig: { Type: 'local', Config: { 'max-size': String(of.logMaxBytes), 'max-file': '2', compress: 'false' } },
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
      Init: false
    }
  }
}

export interface ContainerWish {
  readonly imageDigest: string
  readonly labels: Readonly<Record<string, string>>
  readonly cgroupParent: string
  readonly terminal: boolean
  readonly openStdin: boolean
  /** That Docker keeps at least while no agent reads, in bytes. */
  readonly logMaxBytes: number
}

type Json = Readonly<Record<string, unknown>>

const part = (of: Json, name: string): Json => (of[name] ?? {}) as Json

const refuse = (what: string): Fault =>
  new Fault('unsupported', `Docker cannot hold ${what}: leave it out, or run the task with --runtime oci`, {
    reason: 'unsupported_request'
  })

function knownKeys(where: string, of: Json, known: readonly string[]): void {
  const odd = Object.keys(of).find((key) => of[key] !== undefined && !known.includes(key))
  if (odd !== undefined) throw refuse(`${where}${odd} of a container`)
}

const ofLinux = [
  ...['namespaces', 'cgroupsPath', 'resources', 'devices', 'rootfsPropagation'],
  ...['maskedPaths', 'readonlyPaths', 'sysctl', 'seccomp']
]
const ofProcess = [
  ...['terminal', 'consoleSize', 'user', 'args', 'env', 'cwd'],
  ...['capabilities', 'apparmorProfile', 'rlimits', 'noNewPrivileges']
]

function namespacesOf(linux: Json): readonly string[] {
  const all = (linux['namespaces'] ?? []) as readonly { readonly type: string; readonly path?: string }[]
  const odd = all.find(({ type, path }) => path !== undefined || !ownNamespaces.includes(type))
  if (odd !== undefined) throw refuse(`a namespace ${odd.type}${odd.path === undefined ? '' : ` of ${odd.path}`}`)
  return all.map(({ type }) => type)
}

/** Those that Docker makes by itself; it keeps user namespaces for the whole daemon alone. */
const ownNamespaces = ['pid', 'mount', 'ipc', 'uts', 'cgroup', 'network']

function hostOf(spec: RuntimeSpec, linux: Json, process: Json): Json {
  knownKeys('linux.', linux, ofLinux)
  knownKeys('process.', process, ofProcess)
  const capabilities = part(process, 'capabilities')
  const ambient = (capabilities['ambient'] ?? []) as readonly string[]
  if (ambient.length > 0) throw refuse(`the capabilities ${ambient.join(', ')} for a user other than root`)
  const rlimits = (process['rlimits'] ?? []) as readonly { readonly type: string; readonly soft: number; readonly hard: number }[]
  return {
    CapDrop: ['ALL'],
    CapAdd: capabilities['bounding'] ?? [],
    SecurityOpt: securityOf(linux, process),
    ReadonlyRootfs: part(spec, 'root')['readonly'] === true,
    MaskedPaths: linux['maskedPaths'] ?? [],
    ReadonlyPaths: linux['readonlyPaths'] ?? [],
    Ulimits: rlimits.map(({ type, soft, hard }) => ({ Name: type.replace('RLIMIT_', '').toLowerCase(), Soft: soft, Hard: hard })),
    Sysctls: linux['sysctl'] ?? {},
    CgroupnsMode: 'private',
    IpcMode: 'private',
    ...mountsOf((spec['mounts'] ?? []) as readonly OciMount[]),
    ...devicesOf(linux),
    ...resourcesOf(part(linux, 'resources'))
  }
}

function securityOf(linux: Json, process: Json): readonly string[] {
  const { seccomp } = linux
  return [
    `seccomp=${seccomp === undefined ? 'unconfined' : JSON.stringify(seccomp)}`,
    ...(process['noNewPrivileges'] === true ? ['no-new-privileges'] : []),
    ...(process['apparmorProfile'] === undefined ? [] : [`apparmor=${process['apparmorProfile']}`])
  ]
}

/** Docker mounts these by itself, with the same options. */
const ownMounts = ['/', '/proc', '/dev', '/dev/pts', '/dev/mqueue', '/sys', '/sys/fs/cgroup']
const shm = '/dev/shm'

function mountsOf(mounts: readonly OciMount[]): Json {
  const others = mounts.filter(({ destination }) => !ownMounts.includes(destination) && destination !== shm)
  const odd = others.find(({ type }) => type !== 'bind' && type !== 'tmpfs')
  if (odd !== undefined) throw refuse(`a mount of type ${odd.type} at ${odd.destination}`)
  const shmSize = mounts.find(({ destination }) => destination === shm)?.options.find((o) => o.startsWith('size='))
  return {
    ShmSize: Number(shmSize?.slice('size='.length) ?? 0),
    Tmpfs: Object.fromEntries(
      others.filter(({ type }) => type === 'tmpfs').map(({ destination, options }) => [destination, options.join(',')])
    ),
    Mounts: others
      .filter(({ type }) => type === 'bind')
      .map(({ destination, source, options }) => ({
        Type: 'bind',
        Source: source,
        Target: destination,
        ReadOnly: options.includes('ro'),
        BindOptions: { Propagation: 'rprivate', NonRecursive: !options.includes('rbind') }
      }))
  }
}

interface DeviceRule {
  readonly allow: boolean
  readonly type?: string
  readonly major?: number
  readonly minor?: number
  readonly access: string
}

/** Docker looks the numbers of a device up itself, by its path on the host: `/dev/char/MAJOR:MINOR` is every device's. */
function devicesOf(linux: Json): Json {
  const nodes = (linux['devices'] ?? []) as readonly Json[]
  const rules = (part(linux, 'resources')['devices'] ?? []) as readonly DeviceRule[]
  return {
    Devices: nodes.map(({ path, type, major, minor }) => {
      const rule = rules.find((r) => r.allow && r.type === type && r.major === major && r.minor === minor)
      const onHost = `/dev/${type === 'b' ? 'block' : 'char'}/${major}:${minor}`
      return { PathOnHost: onHost, PathInContainer: path, CgroupPermissions: rule?.access ?? 'r' }
    })
  }
}

const throttles: Readonly<Record<string, string>> = {
  throttleReadBpsDevice: 'BlkioDeviceReadBps',
  throttleWriteBpsDevice: 'BlkioDeviceWriteBps',
  throttleReadIOPSDevice: 'BlkioDeviceReadIOps',
  throttleWriteIOPSDevice: 'BlkioDeviceWriteIOps'
}

interface Rate {
  readonly major: number
  readonly minor: number
  readonly rate: number
}

const ratesOf = (rates: unknown): unknown =>
  (rates as readonly Rate[] | undefined)?.map(({ major, minor, rate }) => ({ Path: `/dev/block/${major}:${minor}`, Rate: rate }))

/** Where the limits are not in a cgroup of Hearth's own: the classic controllers of runtime spec 1.0, "Memory", "CPU", "PIDs". */
function resourcesOf(resources: Json): Json {
  knownKeys('linux.resources.', resources, ['devices', 'cpu', 'memory', 'pids', 'blockIO'])
  const cpu = part(resources, 'cpu')
  const memory = part(resources, 'memory')
  const blockIO = part(resources, 'blockIO')
  knownKeys('linux.resources.cpu.', cpu, ['shares', 'quota', 'period', 'cpus', 'mems'])
  knownKeys('linux.resources.memory.', memory, ['limit', 'reservation', 'swap', 'disableOOMKiller'])
  knownKeys('linux.resources.blockIO.', blockIO, ['weight', ...Object.keys(throttles)])
  const given: Json = {
    CpuShares: cpu['shares'],
    CpuQuota: cpu['quota'],
    CpuPeriod: cpu['period'],
    CpusetCpus: cpu['cpus'],
    CpusetMems: cpu['mems'],
    Memory: memory['limit'],
    MemoryReservation: memory['reservation'],
    MemorySwap: memory['swap'],
    BlkioWeight: blockIO['weight'],
    ...Object.fromEntries(Object.entries(throttles).map(([from, to]) => [to, ratesOf(blockIO[from])])),
    PidsLimit: part(resources, 'pids')['limit']
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
