/**
 * What separates one container from the next. An isolator knows containers, never tasks; plain data in, plain data out.
 *
 *   prepare -> (runtime creates the container) -> isolate -> watch ... usage ... -> cleanup
 *                                            after the agent's restart: recover -> watch ...
 *
 * Rules, for ours and for a stranger's:
 *  - Every step may be repeated, and must come to the same end.
 *  - After a crash `prepare` may never have finished: `cleanup` must cope with what is half there, and with nothing at all.
 *  - A step that waits takes the signal and gives up when it aborts, with the signal's reason.
 *  - What `prepare` makes outside the bundle is named to `request.journal` before it is made.
 *  - `prepare` runs in the order of the table in builtin.ts, `cleanup` in the reverse order.
 */
export interface Isolator {
  readonly name: string
  /** Checks what it needs on this host, once, at the agent's start. */
  capabilities(): Promise<readonly HostCapability[]>
  prepare(request: IsolatorRequest, signal: AbortSignal): Promise<BundlePart>
  /** Called when the container's first process exists and before the task counts as running. */
  isolate?(request: IsolatorRequest, pid: number, signal: AbortSignal): Promise<void>
  /** Resolves with a limitation when the container hits a limit that ends it; never resolves otherwise. */
  watch?(request: IsolatorRequest, signal: AbortSignal): Promise<Limitation>
  usage?(request: IsolatorRequest): Promise<Usage>
  /** Called instead of `prepare` for a container that outlived the agent. */
  recover?(request: IsolatorRequest): Promise<void>
  cleanup(request: IsolatorRequest): Promise<void>
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
  /** Read-only layers of the image, uppermost first, as absolute directories; empty for a rootfs made of mounts alone. */
  readonly layers: readonly string[]
  /** Mounts that belong to the image itself; they come before the task's own. */
  readonly imageMounts: readonly OciMount[]
  readonly mounts: readonly MountRequest[]
  readonly process: ProcessRequest
  readonly seccomp: 'default' | 'unconfined'
  /** Says what is about to be made outside the bundle, before it is made. */
  readonly journal: (object: MadeObject) => Promise<void>
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
  readonly kind: 'cgroup' | 'overlay' | 'sandbox_dir' | 'lease_holder'
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

/** What one isolator adds to the OCI bundle. `runtime/oci/spec.ts` merges the parts; two parts may not set the same thing. */
export interface BundlePart {
  readonly env?: readonly string[]
  readonly mounts?: readonly OciMount[]
  /** Namespaces by type, each new or joined by path. */
  readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
  readonly cgroupsPath?: string
  /** runtime spec `linux.resources`, for hosts where the runtime must set the limits. */
  readonly resources?: Readonly<Record<string, unknown>>
  readonly capabilities?: readonly string[]
  readonly seccomp?: Readonly<Record<string, unknown>>
  readonly maskedPaths?: readonly string[]
  readonly readonlyPaths?: readonly string[]
  readonly rlimits?: readonly { readonly type: string; readonly hard: number; readonly soft: number }[]
  readonly noNewPrivileges?: boolean
  readonly devices?: readonly Readonly<Record<string, unknown>>[]
  readonly rootPath?: string
  readonly rootReadonly?: boolean
}

export interface Limitation {
  readonly limit: 'memory' | 'disk'
  readonly message: string
}

export interface Usage {
  readonly cpuUs?: number
  readonly memoryBytes?: number
  readonly diskBytes?: number
  /** Processes and threads. */
  readonly pids?: number
}
