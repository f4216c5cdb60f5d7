import type { IsolatorRequest, OciMount } from '../isolator.ts'

/**
 * What turns a bundle into a running container and back into nothing.
 *
 *   launch -> wait -> (signal | kill)* -> remove        after the agent's restart: inspect -> wait ...
 *
 * Rules:
 *  - The runtime, not the agent, holds stdio, log and exit code: a container survives the agent's death at any step.
 *  - `launch` that rejects has left nothing behind. Its Fault names what the task did wrong (`invalid`, with
 *    `detail.reason` = program_not_found | program_not_executable | memory_too_small) or what the host did (`unavailable`).
 *  - `remove` may be repeated, and copes with a container that was never made.
 *  - A container is known by boot id, pid with start time, and its cgroup; never by a pid alone.
 */
export interface Runtime {
  readonly name: string
  start(): Promise<void>
  /** Containers go on. */
  stop(): Promise<void>
  /** Kinds of the ledger's objects by which it holds a container; the first is what lives as long as the container does. */
  holders(containerId: string): readonly HolderKind[]
  /** Throws `Fault('unsupported')` where it cannot keep what the container asks for, at its launch or later. */
  check(request: IsolatorRequest, when: 'launch' | 'resize'): void
  /** Where the container's image comes from; undefined: from the agent's own store. */
  images(containerId: string): ContainerImages | undefined
  launch(request: LaunchRequest, signal: AbortSignal): Promise<RunningContainer>
  /** What the kernel shows of a container that may have been launched before. */
  inspect(containerId: string): Promise<Observed>
  /**
   * What `inspect` shows once nobody is at work on the container any more: an agent that was killed may have left it in the middle
   * of its launch, or of its end. The signal only ends the wait.
   */
  settled(containerId: string, signal: AbortSignal): Promise<Observed>
  /**
   * Resolves when the container has ended, with its exit or with `lost` where nobody saw it: then nothing is in its cgroup any
   * more. Calls `unwatched` once where its monitor is gone and it lives on. Rejects only with the signal's reason.
   */
  wait(containerId: string, signal: AbortSignal, unwatched?: () => void): Promise<ContainerExit>
  /** Resolves once all that an ended container wrote is in its log. */
  completeLog(containerId: string): Promise<void>
  /** Sends a signal to the container's first process. A container that has ended is no error. */
  signal(containerId: string, signal: number): Promise<void>
  /** Ends every process of the container at once. */
  kill(containerId: string): Promise<void>
  /**
   * Stops a launch that its agent left half done. Afterwards nothing of it runs, and nothing can start any more; the answer
   * tells whether the program may have run.
   */
  endLaunch(containerId: string): Promise<'never-ran' | 'may-have-run'>
  /** Removes everything of an ended container but its sandbox, its log and the record of its exit. */
  remove(containerId: string, signal: AbortSignal): Promise<void>
  /** Drops the record of the exit, once it is kept elsewhere. */
  dropExit(containerId: string): void
  /** The command line that runs a program inside; the caller spawns it. */
  execCommand(request: ExecRequest): readonly string[]
  /** Program that stands behind terminals of the container (agent/host/terminal-main.ts); undefined: the usual one. */
  terminalProgram(containerId: string): readonly string[] | undefined
}

export type HolderKind = 'conmon' | 'runtime_state' | 'docker_container'

/** Images of a runtime that has its own. */
export interface ContainerImages {
  resolve(reference: string, signal: AbortSignal): Promise<ContainerImage>
  fetch(reference: string, wish: { readonly policy: 'missing' | 'always' | 'never' }, signal: AbortSignal): Promise<void>
}

export interface ContainerImage {
  readonly reference: string
  /** By which the runtime finds it again. */
  readonly digest: string
  /** Absolute directories, uppermost first. */
  readonly layers: readonly string[]
  readonly mounts: readonly OciMount[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
}

/** OCI runtime-spec 1.0.2, `config.json`. */
export type RuntimeSpec = Readonly<Record<string, unknown>>

export interface LaunchRequest {
  readonly containerId: string
  readonly bundleDir: string
  /** May still be in the making: the runtime gets ready meanwhile, and rejects with what it rejects with, leaving nothing. */
  readonly config: RuntimeSpec | Promise<RuntimeSpec>
  readonly logPath: string
  /** conmon's own bound on the log while the agent is down, in bytes. */
  readonly logMaxBytes: number
  readonly terminal: boolean
  readonly openStdin: boolean
  readonly runtime: 'runc' | 'crun'
  /** Of the image, for a runtime with images of its own. */
  readonly imageDigest: string
}

export interface RunningContainer {
  /** 0 where it is not known which of the container's processes is the first. */
  readonly pid: number
  /** Field 22 of /proc/PID/stat, in clock ticks since boot: with the pid it names the process for this boot. */
  readonly startTicks: number
  /** 0 where the monitor is gone: the exit code will not be known. */
  readonly monitorPid: number
}

export type Observed =
  | { readonly kind: 'running'; readonly container: RunningContainer }
  /**
   * Processes are in its cgroup, and nothing proves that its program was let begin. `container`: as it would be if it was;
   * undefined where it cannot be told which of them is the first.
   */
  | { readonly kind: 'unknown'; readonly container: RunningContainer | undefined }
  | { readonly kind: 'exited'; readonly exit: ContainerExit }
  /** There is something of it, but no process and no exit code. */
  | { readonly kind: 'remains' }
  | { readonly kind: 'absent' }

export type ContainerExit =
  | { readonly kind: 'exited'; readonly code: number; readonly signal: number | undefined; readonly outOfMemory: boolean }
  | { readonly kind: 'lost'; readonly why: string }

export interface ExecRequest {
  readonly containerId: string
  readonly arguments: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly terminal: boolean
  /** Where the pid of the program is to be written. */
  readonly pidFile: string
}
