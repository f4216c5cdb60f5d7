import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { absolutePath, levels, oneOfLevels, readSettings, type Setting } from '../base/settings.ts'
import type { ProxySettings } from './images/registry/proxy.ts'
import type { RegistrySettings } from './images/registry/settings.ts'
import { readProxy, readRegistries, registrySettings } from './images/registry-options.ts'
import { type NamedDevices, parseNamedDevices } from './named-devices.ts'
import { readUpgradeOrders, type UpgradeOrders } from './upgrade/orders.ts'

export interface AgentConfig {
  readonly stateDir: string
  readonly runDir: string
  /** Empty: those of the cluster that this node has joined, else the master of the same state directory. */
  readonly masters: readonly string[]
  readonly cgroupParent: string
  /** The operator named the parent; it is no default. */
  readonly cgroupParentChosen: boolean
  readonly allowedMounts: readonly string[]
  readonly devices: NamedDevices
  readonly allowUnconfined: boolean
  /** Empty: the built-in one. */
  readonly seccompProfile: string
  readonly seccompDir: string
  /** Device nodes that tasks may use; a folder stands for all below it. */
  readonly allowedDevices: readonly string[]
  readonly conmon: string
  readonly runc: string
  readonly crun: string
  /** Of Docker's API. */
  readonly dockerSocket: string
  /** Modules of isolators beyond Hearth's own, by npm name or absolute path, in their order. */
  readonly isolators: readonly string[]
  /** Below whose `node_modules` they are looked for. */
  readonly isolatorDir: string
  readonly logLevel: string
  /** Executables that say how the node is. */
  readonly checksDir: string
  /** Pause between two looks at the node's health. */
  readonly healthEveryMs: number
  /** Whether the servers of resolv.conf are asked for a sign of life. */
  readonly healthDns: boolean
  /** How long the log of a removed task is kept; 0: not at all. */
  readonly keptLogMs: number
  /** Of all kept logs together. */
  readonly keptLogBytes: number
  readonly registries: RegistrySettings
  readonly proxy: ProxySettings | undefined
  /** End all workloads of the state directory and exit; the way out when no agent runs. */
  readonly stopWorkloads: boolean
  /** Compare the ledger with the host, print the report and exit: `hearth node fsck` where no agent runs. */
  readonly fsck: boolean
  readonly upgrade: UpgradeOrders
}

const absolutePaths = (text: string): string | undefined =>
  list(text).every((p) => p.startsWith('/')) ? undefined : 'must be absolute paths, separated by commas'
const yesOrNo = (text: string): string | undefined => (text === 'yes' || text === 'no' ? undefined : 'must be yes or no')

/** Every setting of the agent; flag over environment over configuration file over default. */
export const agentSettings: readonly Setting[] = [
  { flag: 'state-dir', env: 'HEARTH_STATE_DIR', fallback: '/var/lib/hearth', help: 'where everything lies', check: absolutePath },
  {
    flag: 'masters',
    env: 'HEARTH_MASTERS',
    fallback: '',
    help: 'unix:/path, tls:host:port, or tcp:port of loopback, separated by commas; default: those of the cluster that this node joined',
    check: (text) =>
      list(text).every((m) => /^(unix:\/.+|tls:.+:\d+|tcp:(127\.0\.0\.1|localhost|\[::1\]):\d+)$/.test(m))
        ? undefined
        : 'must be unix:/path, tls:host:port or tcp:127.0.0.1:port, separated by commas; nothing crosses a network in clear'
  },
  {
    flag: 'cgroup-parent',
    env: 'HEARTH_CGROUP_PARENT',
    fallback: '',
    help: 'cgroup of all containers; default: named after the state directory'
  },
  {
    flag: 'allow-mount',
    env: 'HEARTH_ALLOW_MOUNT',
    fallback: '',
    help: 'host folders that tasks may mount',
    check: absolutePaths
  },
  {
    flag: 'allow-device',
    env: 'HEARTH_ALLOW_DEVICE',
    fallback: '',
    help: 'device nodes that tasks may use, or folders of them',
    check: absolutePaths
  },
  {
    flag: 'devices',
    env: 'HEARTH_DEVICES',
    fallback: '',
    help: 'devices that tasks may ask for by name and number: gpu=/dev/nvidia0+/dev/nvidiactl,gpu=/dev/nvidia1+/dev/nvidiactl',
    check: (text) =>
      parseNamedDevices(text) === undefined ? 'must be NAME=/dev/PATH, with + between nodes of one device' : undefined
  },
  {
    flag: 'allow-unconfined',
    env: 'HEARTH_ALLOW_UNCONFINED',
    fallback: 'no',
    help: 'yes: tasks may switch seccomp off',
    check: yesOrNo
  },
  {
    flag: 'seccomp-profile',
    env: 'HEARTH_SECCOMP_PROFILE',
    fallback: '',
    help: 'file of the seccomp profile that tasks get by default; default: the built-in one',
    check: (text) => (text === '' ? undefined : absolutePath(text))
  },
  {
    flag: 'seccomp-dir',
    env: 'HEARTH_SECCOMP_DIR',
    fallback: '/etc/hearth/seccomp.d',
    help: 'folder with seccomp profiles that tasks may name, as NAME.json',
    check: absolutePath
  },
  { flag: 'conmon', env: 'HEARTH_CONMON', fallback: '/usr/bin/conmon', help: 'path of conmon', check: absolutePath },
  { flag: 'runc', env: 'HEARTH_RUNC', fallback: '/usr/sbin/runc', help: 'path of runc', check: absolutePath },
  { flag: 'crun', env: 'HEARTH_CRUN', fallback: '/usr/bin/crun', help: 'path of crun', check: absolutePath },
  {
    flag: 'docker-socket',
    env: 'HEARTH_DOCKER_SOCKET',
    fallback: '/var/run/docker.sock',
    help: 'where Docker listens, for tasks with --runtime docker',
    check: absolutePath
  },
  {
    flag: 'isolators',
    env: 'HEARTH_ISOLATORS',
    fallback: '',
    help: 'modules of further isolators, by npm name or absolute path, separated by commas',
    check: (text) =>
      list(text).every((m) => m.startsWith('/') || /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/.test(m))
        ? undefined
        : 'must be names of npm modules or absolute paths, separated by commas'
  },
  {
    flag: 'isolator-dir',
    env: 'HEARTH_ISOLATOR_DIR',
    fallback: '/usr/local/lib/hearth',
    help: 'folder in which npm installed them: npm install --prefix FOLDER NAME',
    check: absolutePath
  },
  {
    flag: 'checks-dir',
    env: 'HEARTH_CHECKS_DIR',
    fallback: '/etc/hearth/checks.d',
    help: 'folder with checks of your own',
    check: absolutePath
  },
  {
    flag: 'health-seconds',
    env: 'HEARTH_HEALTH_SECONDS',
    fallback: '30',
    help: 'pause between two looks at the health of the node',
    check: (text) => (/^[1-9]\d{0,3}$/.test(text) ? undefined : 'must be a whole number of seconds from 1 to 9999')
  },
  {
    flag: 'health-dns',
    env: 'HEARTH_HEALTH_DNS',
    fallback: 'yes',
    help: 'no: do not ask the servers of resolv.conf for a sign of life',
    check: yesOrNo
  },
  {
    flag: 'kept-log-hours',
    env: 'HEARTH_KEPT_LOG_HOURS',
    fallback: '24',
    help: 'how long the log of a removed task is kept; 0: not at all',
    check: (text) => (/^\d{1,4}$/.test(text) ? undefined : 'must be a whole number of hours from 0 to 9999')
  },
  {
    flag: 'kept-log-mib',
    env: 'HEARTH_KEPT_LOG_MIB',
    fallback: '1024',
    help: 'how much the logs of removed tasks may take together; the oldest go first',
    check: (text) => (/^\d{1,8}$/.test(text) ? undefined : 'must be a whole number of MiB from 0 to 99999999')
  },
  ...registrySettings,
  {
    flag: 'log-level',
    env: 'HEARTH_LOG_LEVEL',
    fallback: 'info',
    help: levels.join(', '),
    check: oneOfLevels
  }
]

type Env = Readonly<Record<string, string | undefined>>

/** The only reader of the agent's environment and arguments. Reports every mistake at once. */
export function readAgentConfig(argv: readonly string[], env: Env): AgentConfig {
  const { of, isOn } = readSettings({ daemon: 'agent', settings: agentSettings, switches: ['stop-workloads', 'fsck'] }, argv, env)
  const stateDir = resolve(of('state-dir'))
  const runDir = join(stateDir, 'run')
  return Object.freeze({
    stateDir,
    runDir,
    masters: list(of('masters')),
    cgroupParent: of('cgroup-parent') || `/hearth-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}`,
    cgroupParentChosen: of('cgroup-parent') !== '',
    allowedMounts: list(of('allow-mount')),
    devices: parseNamedDevices(of('devices')) ?? new Map(),
    allowUnconfined: of('allow-unconfined') === 'yes',
    seccompProfile: of('seccomp-profile'),
    seccompDir: of('seccomp-dir'),
    allowedDevices: list(of('allow-device')),
    conmon: of('conmon'),
    runc: of('runc'),
    crun: of('crun'),
    dockerSocket: of('docker-socket'),
    isolators: list(of('isolators')),
    isolatorDir: of('isolator-dir'),
    logLevel: of('log-level'),
    checksDir: of('checks-dir'),
    healthEveryMs: Number(of('health-seconds')) * 1_000,
    healthDns: of('health-dns') === 'yes',
    keptLogMs: Number(of('kept-log-hours')) * 3_600_000,
    keptLogBytes: Number(of('kept-log-mib')) * 1024 ** 2,
    registries: readRegistries(of),
    proxy: readProxy(of),
    stopWorkloads: isOn('stop-workloads'),
    fsck: isOn('fsck'),
    upgrade: readUpgradeOrders(env)
  })
}

const list = (text: string): readonly string[] => text.split(',').filter((part) => part !== '')
