import type { WallRequest } from './walls.ts'

/**
 * What separates one container from the next. An isolator knows containers, never tasks; plain data in, plain data out.
 *
 *   prepare -> (runtime creates the container) -> isolate -> watch ... update ... usage ... -> cleanup
 *                                            after the agent's restart: recover -> watch ...
 *
 * Rules, for ours and for a stranger's; test/contract/isolator.ts proves what can be proved of them:
 *  - Every step may be repeated, and must come to the same end.
 *  - After a crash `prepare` may never have finished: `cleanup` must cope with what is half there, and with nothing at all.
 *  - `cleanup` and `recover` may come to an agent that has never seen the container: what they need is in the request (of which the
 *    image and the program's words are then empty) or was written down by `prepare`.
 *  - A step that waits takes the signal and gives up when it aborts, with the signal's reason.
 *  - What `prepare` makes outside the bundle is named to `request.journal` before it is made.
 *  - `prepare` runs in the order of the arrangement (arrange.ts), `cleanup` in the reverse order.
 *  - Nothing blocks: a step runs on the one thread that all tasks of the node share.
 */
export interface Isolator {
  /** Lower-case words joined by dashes; no two isolators of an agent have the same. */
  readonly name: string
  readonly place?: IsolatorPlace
  /** Checks what it needs on this host, once, at the agent's start. */
  capabilities(signal: AbortSignal): Promise<readonly HostCapability[]>
  /** Rejects where the container may not be made as asked for; the sentence is what the task ends with. */
  prepare(request: IsolatorRequest, signal: AbortSignal): Promise<BundlePart>
  /**
   * Called when the container's first process exists and before the task counts as running. The program may have begun: what has
   * to be there before it does belongs into `prepare`. A rejection ends the container.
   */
  isolate?(request: IsolatorRequest, pid: number, signal: AbortSignal): Promise<void>
  /** Resolves with a limitation when the container hits a limit that ends it; never resolves otherwise. */
  watch?(request: IsolatorRequest, signal: AbortSignal): Promise<Limitation>
  /** Other limits for a container that runs: `request.limits` are the new ones. A rejection changes nothing. */
  update?(request: IsolatorRequest, signal: AbortSignal): Promise<void>
  usage?(request: IsolatorRequest, signal: AbortSignal): Promise<Usage>
  /** Called instead of `prepare` for a container that outlived the agent. A rejection is told; the container goes on. */
  recover?(request: IsolatorRequest, signal: AbortSignal): Promise<void>
  cleanup(request: IsolatorRequest, signal: AbortSignal): Promise<void>
}

/** How an isolator stands to the others, by their names. Checked once, at the agent's start. */
export interface IsolatorPlace {
  /** It comes after them where they are there. */
  readonly after?: readonly string[]
  /** It comes before them where they are there. */
  readonly before?: readonly string[]
  /** They must be there, and it comes after them. */
  readonly needs?: readonly string[]
  /** They must not be there. */
  readonly conflicts?: readonly string[]
}

export interface HostCapability {
  /** Dotted: `limit.memory`, `network.host`. */
  readonly name: string
  readonly present: boolean
  /** How it is done here, or why it is not there. */
  readonly detail: string
}

export interface Limits {
  /** 0: no limit. */
  readonly milliCpu: number
  /** 0: no limit. */
  readonly memoryBytes: number
  /** 0: no limit. */
  readonly diskBytes: number
  readonly pidsMax: number
  /** 1 to 10000; absent: 100, as of every cgroup. */
  readonly cpuWeight?: number
  /** What is saved of the CPU limit and may be used above it, in microseconds. */
  readonly cpuBurstUs?: number
  /** Only processor time that nobody else wants. */
  readonly cpuIdle?: boolean
  /** Processors that no other container may use. */
  readonly exclusiveCores?: number
  readonly memoryMinBytes?: number
  readonly memoryLowBytes?: number
  readonly memoryHighBytes?: number
  /** Absent: none where memory is limited. */
  readonly swapBytes?: number
  /** `task`: all processes of the container end where one would. */
  readonly oomPolicy?: 'process' | 'task'
  readonly ioWeight?: number
  readonly io?: readonly IoLimit[]
  readonly hugePages?: readonly { readonly pageBytes: number; readonly maxBytes: number }[]
  /** Of its swap, so much may lie compressed in memory; -1: none of it. */
  readonly zswapBytes?: number
  /** NUMA nodes as in cpuset(7), "List format": its processors and its memory are theirs. */
  readonly numaNodes?: string
  /** Its memory alone; without it that of `numaNodes`. */
  readonly memoryNodes?: string
  /** Of one device. 0: no limit. */
  readonly rdma?: readonly { readonly device: string; readonly handles: number; readonly objects: number }[]
  /** Of what the misc controller counts. */
  readonly misc?: readonly { readonly name: string; readonly max: number }[]
}

/** Of one disk. 0: no limit. */
export interface IoLimit {
  /** Its device file, or anything that lies on it. */
  readonly path: string
  readonly readBytesPerSecond: number
  readonly writeBytesPerSecond: number
  readonly readsPerSecond: number
  readonly writesPerSecond: number
  /** Others of the disk are slowed down where its own requests wait longer. */
  readonly latencyUs: number
}

export interface IsolatorRequest {
  /** 32 hexadecimal digits: safe in any path or cgroup name. */
  readonly containerId: string
  /** Boot-bound directory of this container: config.json, pid files, sockets. */
  readonly bundleDir: string
  /** Directory that outlives container and boot: what the task leaves behind, its logs. */
  readonly sandboxDir: string
  readonly limits: Limits
  readonly network: 'host' | 'none'
  /** Of a container that has some of its namespaces in common with others; absent: all are its own. */
  readonly shared?: readonly SharedNamespace[]
  /**
   * Read-only layers of the image, uppermost first, as absolute directories; empty for a rootfs made of mounts alone. With a user
   * namespace their files belong to its ids already, some by metadata alone (overlayfs, "Metadata only copy up").
   */
  readonly layers: readonly string[]
  /** Mounts that belong to the image itself; they come before the task's own. */
  readonly imageMounts: readonly OciMount[]
  readonly mounts: readonly MountRequest[]
  readonly process: ProcessRequest
  readonly walls: WallRequest
  /** Of the task: how it speaks to isolators that Hearth does not know. */
  readonly labels: Readonly<Record<string, string>>
  /** What `prepare` named to `journal` and has not been cleaned up yet, also by an earlier agent. */
  readonly made: readonly MadeObject[]
  /** Says what is about to be made outside the bundle, before it is made. */
  readonly journal: (object: MadeObject) => Promise<void>
}

/** A namespace that is there already. */
export interface SharedNamespace {
  /** As the OCI runtime spec names it: `network`, `ipc`, `pid`. */
  readonly type: string
  /** A file that leads to it for as long as its holder lives. */
  readonly path: string
  /** What a link to it says (namespaces(7), `/proc/PID/ns`): another one that has come into the place of `path` is not it. */
  readonly identity: string
}

export interface MountRequest {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

export interface ProcessRequest {
  readonly arguments: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
  readonly terminal: boolean
  /** Size of the terminal at its start; 0 where it is not known. */
  readonly rows: number
  readonly columns: number
  readonly hostname: string
}

export interface MadeObject {
  /** `other`: of an isolator that Hearth does not know, which alone can remove it. */
  readonly kind: 'cgroup' | 'overlay' | 'sandbox_dir' | 'lease_holder' | 'other'
  /** Absolute path, or the object's name in its namespace. */
  readonly id: string
}

/** One OCI mount (runtime spec 1.0, "Mounts"). */
export interface OciMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/**
 * What one isolator adds to the OCI bundle. `runtime/oci/spec.ts` merges the parts: lists are joined in the order of the isolators,
 * anything else may be set by one of them only (part.ts).
 */
export interface BundlePart {
  readonly env?: readonly string[]
  readonly mounts?: readonly OciMount[]
  /** Namespaces by type, each new or joined by path. */
  readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
  /** Of users and of groups alike, where there is a user namespace. */
  readonly idMappings?: readonly { readonly containerID: number; readonly hostID: number; readonly size: number }[]
  readonly cgroupsPath?: string
  /** runtime spec `linux.resources`, for hosts where the runtime must set the limits. */
  readonly resources?: Readonly<Record<string, unknown>>
  readonly capabilities?: readonly string[]
  /** Those that a process of another user than root holds from its start. */
  readonly ambientCapabilities?: readonly string[]
  readonly seccomp?: Readonly<Record<string, unknown>>
  readonly maskedPaths?: readonly string[]
  readonly readonlyPaths?: readonly string[]
  readonly rlimits?: readonly { readonly type: string; readonly hard: number; readonly soft: number }[]
  readonly noNewPrivileges?: boolean
  readonly devices?: readonly Readonly<Record<string, unknown>>[]
  /** Rows of `linux.resources.devices` that follow the one which refuses everything. */
  readonly deviceRules?: readonly Readonly<Record<string, unknown>>[]
  readonly sysctl?: Readonly<Record<string, string>>
  readonly apparmorProfile?: string
  readonly rootPath?: string
  readonly rootReadonly?: boolean
  /** Sentences for whoever asked for the container: where it got less than it asked for. */
  readonly notices?: readonly string[]
}

export interface Limitation {
  /** `other`: of an isolator that Hearth does not know. */
  readonly limit: 'memory' | 'disk' | 'pids' | 'other'
  readonly message: string
}

export interface Usage {
  readonly cpuUs?: number
  readonly memoryBytes?: number
  /** Of it, copies of files that the kernel can take back at once. */
  readonly cacheBytes?: number
  readonly diskBytes?: number
  /** Processes and threads. */
  readonly pids?: number
}
