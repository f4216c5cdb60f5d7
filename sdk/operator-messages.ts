import type { Cause, Reason, Resource, TaskState } from '../proto/gen/messages.ts'
import type { ShownTaskState } from '../proto/task-state.ts'

/** What the operator API takes and gives (docs/architecture.md, "Operator API"). */
export interface TaskRequest {
  readonly name?: string
  readonly image: string
  readonly arguments: readonly string[]
  readonly environment: readonly { readonly name: string; readonly value: string }[]
  readonly workingDirectory?: string
  readonly user?: string
  readonly terminal?: boolean
  readonly openStdin?: boolean
  readonly rows?: number
  readonly columns?: number
  readonly mounts?: readonly { readonly source: string; readonly target: string; readonly readOnly: boolean }[]
  /** Files that lie in its sandbox when it begins. */
  readonly artifacts?: readonly ArtifactRequest[]
  readonly network?: 'host' | 'none'
  readonly milliCpu?: number
  readonly memoryBytes?: number
  readonly diskBytes?: number
  readonly limits?: LimitsRequest
  /** How many of the nodes' devices, by name. */
  readonly devices?: Readonly<Record<string, number>>
  readonly labels?: Readonly<Record<string, string>>
  readonly role?: string
  /** Whether a node pulls the image; default `missing`. */
  readonly pull?: 'missing' | 'always' | 'never'
  readonly runtime?: 'runc' | 'crun' | 'docker'
  readonly seccomp?: string
  readonly walls?: Partial<Walls>
  readonly killPolicy?: { readonly signal: string; readonly graceMs: number }
  readonly logBudget?: { readonly fileBytes: number; readonly files: number; readonly maxAgeMs?: number }
  readonly restart?: RestartRequest
  readonly probes?: { readonly [K in 'startup' | 'readiness' | 'liveness']?: ProbeRequest }
  /** It runs only while a master renews it. */
  readonly lease?: { readonly lengthMs: number }
  readonly removeWhenDone?: boolean
}

/** Absent: the kernel's default. */
export interface LimitsRequest {
  readonly cpuWeight?: number
  readonly cpuBurstUs?: number
  readonly cpuIdle?: boolean
  readonly exclusiveCores?: number
  readonly memoryMinBytes?: number
  readonly memoryLowBytes?: number
  readonly memoryHighBytes?: number
  readonly swapBytes?: number
  readonly oomPolicy?: 'process' | 'task'
  readonly pidsMax?: number
  readonly ioWeight?: number
  readonly io?: readonly {
    readonly path: string
    readonly readBytesPerSecond?: number
    readonly writeBytesPerSecond?: number
    readonly readsPerSecond?: number
    readonly writesPerSecond?: number
    readonly latencyUs?: number
  }[]
  readonly hugePages?: readonly { readonly pageBytes: number; readonly maxBytes: number }[]
  /** -1: none of its swap lies compressed in memory. */
  readonly zswapBytes?: number
  /** Such as `0,2-3`. */
  readonly numaNodes?: string
  readonly memoryNodes?: string
  readonly rdma?: readonly { readonly device: string; readonly handles?: number; readonly objects?: number }[]
  readonly misc?: readonly { readonly name: string; readonly max: number }[]
}

/** What may be changed of a running task; what is absent stays. */
export interface UpdateRequest {
  readonly milliCpu?: number
  readonly memoryBytes?: number
  readonly limits?: LimitsRequest
  /** Also below what it uses now. */
  readonly force?: boolean
}

/** Where a task's walls are not to stand as they usually do. */
export interface Walls {
  /** As NET_RAW or CAP_NET_RAW, or ALL. */
  readonly addCapabilities: readonly string[]
  readonly dropCapabilities: readonly string[]
  readonly newPrivileges: boolean
  readonly userNamespace: boolean
  readonly readOnlyRoot: boolean
  readonly hiddenPaths: readonly string[]
  readonly readOnlyPaths: readonly string[]
  /** By the names of setrlimit(2), such as nofile; -1: as much as can be given. */
  readonly limits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[]
  readonly devices: readonly { readonly path: string; readonly target?: string; readonly access?: string }[]
  readonly tmpBytes: number
  readonly shmBytes: number
  readonly settings: Readonly<Record<string, string>>
  readonly apparmor: string
}

/** 0 or absent numbers are the agent's defaults. */
interface RestartRequest {
  readonly policy: 'never' | 'on-failure' | 'always'
  /** In all, the first included; absent: without end. */
  readonly maxAttempts?: number
  readonly backoffMs?: number
  readonly maxBackoffMs?: number
  readonly resetAfterMs?: number
}

/** Exactly one of `http`, `tcp` and `command`. */
export interface ProbeRequest {
  readonly http?: { readonly port: number; readonly path: string }
  readonly tcp?: { readonly port: number }
  readonly command?: readonly string[]
  readonly graceMs?: number
  readonly intervalMs?: number
  readonly timeoutMs?: number
  readonly successes?: number
  readonly failures?: number
}

/** One attempt of a task, as it stands or as it ended. */
interface Attempt {
  readonly attempt: number
  readonly containerId: string
  readonly state: TaskState
  readonly reason: Reason | null
  readonly message: string | null
  readonly exitCode: number | null
  readonly signal: number | null
  readonly startedAtMs: number | null
  readonly endedAtMs: number | null
}

export interface Task {
  readonly taskId: string
  readonly frameworkId: string
  readonly name: string
  readonly role: string
  readonly image: string
  readonly arguments: readonly string[]
  readonly state: ShownTaskState
  readonly reason: Reason | null
  readonly message: string | null
  readonly exitCode: number | null
  readonly signal: number | null
  /** Why it ended, best first; empty while it runs and after a success. */
  readonly causes?: readonly Cause[]
  readonly attempt: number
  /** The last ones, oldest first; the last of them is the one that stands. */
  readonly attempts: readonly Attempt[]
  /** What the task's probes say; null where it has none. */
  readonly ready: boolean | null
  readonly restart: 'never' | 'on-failure' | 'always'
  /** Null for a task without one, absent from an older master. */
  readonly lease?: {
    readonly lengthMs: number
    readonly state: 'wanted' | 'held' | 'over'
    readonly grantedAtMs: number | null
  } | null
  readonly nodeId: string | null
  readonly hostname: string | null
  readonly containerId: string | null
  /** Absent from an older master, as `walls`. */
  readonly seccomp?: string
  /** Null where they are the usual ones. */
  readonly walls?: Walls | null
  readonly labels: Readonly<Record<string, string>>
  readonly resources: readonly Resource[]
  readonly limits: LimitsRequest | null
  readonly createdAtMs: number
  readonly startedAtMs: number | null
  readonly endedAtMs: number | null
  readonly removeWhenDone: boolean
  /** Of its pod; null for a single task, absent from an older master. */
  readonly part?: 'init' | 'sidecar' | 'main' | null
}

export interface ArtifactRequest {
  /** https, http where the node may, or file:/path of the node. */
  readonly url: string
  /** 64 hexadecimal digits. */
  readonly sha256?: string
  /** A tar, plain or packed by gzip or zstd. */
  readonly unpack?: boolean
  readonly executable?: boolean
  /** Below the sandbox; without it the name at the end of the URL. */
  readonly target?: string
}

/** What tasks of a role may be. An empty list of what is allowed allows nothing. */
export interface Tenant {
  readonly role: string
  /** Whose policy it is: the role's own, that of a role above it, or that of *; null: the usual one. */
  readonly from: string | null
  readonly required: readonly string[]
  readonly images: readonly string[]
  readonly registries: readonly string[]
  readonly hostPaths: readonly string[]
  readonly devices: readonly string[]
  readonly capabilities: readonly string[]
  readonly seccomp: readonly string[]
  /** Unlike the others: an empty list asks for no signature. */
  readonly signatures: readonly SignatureRule[]
}

/** Images that have to be signed, by one of these keys. */
export interface SignatureRule {
  /** A pattern, as of `images`. */
  readonly images: string
  /** Public keys, as PEM. */
  readonly keys: readonly string[]
  /** Also a signature for the image under another name counts. */
  readonly anyName?: boolean
}

export type TenantChange = Partial<Omit<Tenant, 'role' | 'from'>>

export interface Explanation {
  readonly lastLines: readonly string[]
  /** Rows of the node's flight recorder, oldest first, each with `atMs` and `event`. */
  readonly record: readonly Readonly<Record<string, unknown>>[]
}

export interface Node {
  readonly nodeId: string
  readonly hostname: string
  readonly condition: string
  readonly version: string
  readonly bootId: string
  readonly resources: readonly Resource[]
  readonly used: readonly Resource[]
  /** The node has shrunk under its tasks. */
  readonly overCommitted?: boolean
  readonly attributes: readonly {
    readonly name: string
    readonly kind: string
    readonly text: string
    readonly number: number
    readonly ranges: readonly { readonly begin: number; readonly end: number }[]
  }[]
  readonly capabilities: readonly { readonly name: string; readonly present: boolean; readonly detail: string }[]
  readonly registeredAtMs: number
  readonly connected: boolean
  readonly tasks: number | readonly unknown[]
  /** Null while the node is away or has not looked yet; absent from an older master. */
  readonly health?: {
    readonly verdict: string
    readonly refusesLaunches: boolean
    readonly problems: readonly NodeCheck[]
  } | null
}

export interface NodeCheck {
  readonly kind: string
  readonly subject: string
  /** OK, WARNING, FAILURE or UNKNOWN. */
  readonly verdict: string
  readonly reason: string
  readonly remedy: string
}

/** What an agent, or the checks without one, say of a node. */
export interface NodeHealthAnswer {
  readonly verdict: string
  /** Worst first. */
  readonly checks: readonly NodeCheck[]
}

export interface TaskStats {
  readonly frameworkId: string
  readonly taskId: string
  readonly name: string
  readonly containerId: string
  readonly state: string
  readonly cpuPercent: number | null
  readonly cpuUs: number | null
  readonly memoryBytes: number | null
  readonly pids: number | null
  /** Percent of the last 10 s in which something of it waited. */
  readonly pressure: { readonly cpu: number | null; readonly memory: number | null; readonly io: number | null }
}

export interface TaskDetails extends TaskStats {
  /** As they hold now; 0 is none. */
  readonly limits: {
    readonly milliCpu: number
    readonly memoryBytes: number
    readonly diskBytes: number
    readonly pidsMax: number
  }
  /** By isolator. */
  readonly usage: Readonly<Record<string, Readonly<Record<string, number>>>>
}

interface HostCapability {
  readonly name: string
  readonly present: boolean
  readonly detail: string
}

export interface NodeIsolators {
  /** In the order in which they are put up. */
  readonly isolators: readonly {
    readonly name: string
    readonly module: string | null
    readonly state: 'ready' | 'failing' | 'not-loaded'
    /** By step, the last that went wrong and not well since. */
    readonly troubles: Readonly<Record<string, string>>
    readonly steps: readonly string[]
    readonly capabilities: readonly HostCapability[]
  }[]
  /** What else the node can do, or cannot and why. */
  readonly host: readonly HostCapability[]
}

/** Null where nobody counts it. */
export interface NodeTop {
  readonly node: {
    readonly cpus: number
    readonly cpuPercent: number | null
    readonly memoryBytes: number | null
    readonly memoryTotalBytes: number | null
    readonly load1: number | null
    readonly pressure: { readonly cpu: number | null; readonly memory: number | null; readonly io: number | null }
  }
  readonly tasks: readonly {
    readonly frameworkId: string
    readonly taskId: string
    readonly name: string
    readonly containerId: string
    readonly state: string
    readonly restarts: number
    readonly cpuPercent: number | null
    readonly memoryBytes: number | null
    readonly pids: number | null
    readonly diskBytes: number | null
  }[]
}

export interface FileEntry {
  readonly name: string
  readonly kind: string
  readonly bytes: number
  readonly mode: number
  readonly modifiedMs: number
}

export interface ClusterFacts {
  readonly clusterId: string
  readonly nodeId: string
  readonly term: number
  readonly index: number
  readonly featureLevel: number
  readonly epoch: number
}

export interface VersionFacts {
  readonly version: string
  readonly protocol: { readonly min: number; readonly max: number }
}
