import { defaultCapabilities } from './capabilities.ts'

/** How a container's walls are to stand. Plain data; what may be asked for is decided before it comes here. */
export interface WallRequest {
  /** Linux capabilities that its processes can have at most, as CAP_NET_RAW. */
  readonly capabilities: readonly string[]
  /** Of these, what a process that is not root holds from its start. */
  readonly ambientCapabilities: readonly string[]
  /** Whether set-user-id programs and file capabilities count. */
  readonly newPrivileges: boolean
  readonly readOnlyRoot: boolean
  /** Besides those that always are. */
  readonly hiddenPaths: readonly string[]
  readonly readOnlyPaths: readonly string[]
  readonly limits: readonly ProcessLimit[]
  readonly devices: readonly DeviceAccess[]
  /** Of a /tmp of its own in memory; 0: as the image has it. */
  readonly tmpBytes: number
  readonly shmBytes: number
  readonly settings: readonly { readonly name: string; readonly value: string }[]
  /** Name of a profile; empty: none. */
  readonly apparmor: string
  /** `default`, `unconfined`, or the name of a profile. */
  readonly seccomp: string
  /** Ids of the node that are those of the container from 0 on; undefined: it has the node's own. */
  readonly ids: IdRange | undefined
}

export interface IdRange {
  readonly first: number
  readonly count: number
}

export interface ProcessLimit {
  /** Of setrlimit(2), in small letters and without RLIMIT_. */
  readonly name: string
  /** -1: as much as the hard limit. */
  readonly soft: number
  /** -1: as much as can be given. */
  readonly hard: number
}

export interface DeviceAccess {
  readonly path: string
  readonly target: string
  /** Of r, w and m. */
  readonly access: string
}

export const usualWalls: WallRequest = {
  capabilities: defaultCapabilities,
  ambientCapabilities: [],
  newPrivileges: false,
  readOnlyRoot: false,
  hiddenPaths: [],
  readOnlyPaths: [],
  limits: [],
  devices: [],
  tmpBytes: 0,
  shmBytes: 64 * 1024 * 1024,
  settings: [],
  apparmor: '',
  seccomp: 'default',
  ids: undefined
}
