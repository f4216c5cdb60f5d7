import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf } from '../../../base/fault.ts'
import { type CgroupLayout, cgroupDirectories, unifiedDirectory } from '../../cgroup2/layout.ts'
import { isThere, pidsIn, untilEmpty } from '../../cgroup2/population.ts'
import { killCgroup, removeEmpty } from '../../cgroup2/tree.ts'
import { readOomKills } from '../../cgroup2/usage.ts'
import type { OciMount } from '../../isolator.ts'
import { findFirst } from '../first-process.ts'
import type {
  ContainerExit,
  ExecRequest,
  HolderKind,
  LaunchRequest,
  Observed,
  RunningContainer,
  Runtime,
  RuntimeSpec
} from '../runtime.ts'
import { type PlaceMonitor, startConmon } from './conmon.ts'
import { ExitWatch } from './exit-watch.ts'
import { ExitFiles } from './exits.ts'
import { launchFault } from './failure.ts'
import { findMonitor, readPid } from './monitor.ts'
import { monitorPlace, monitorsName } from './monitor-place.ts'
import { findByArgument, isSameProcess, killGroup, readProcess } from './process-table.ts'
import { untilSettled } from './settle.ts'
import { type OciRuntimeName, writeShims } from './shim.ts'

interface OciParts {
  readonly layout: CgroupLayout
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export interface OciConfig {
  /** Boot-bound directory; bundles lie in `c/` below it. */
  readonly runDir: string
  /** Where programs may be executed from: a tmpfs for run files often forbids it. */
  readonly shimDir: string
  /** Path of the cgroup that holds all containers, the same in every hierarchy. */
  readonly cgroupParent: string
  readonly programs: { readonly conmon: string; readonly runc: string; readonly crun: string }
}

const removalTries = 100
const removalPauseMs = 10

/** conmon over runc or crun: conmon holds stdio, log and exit code while the agent is down. */
export class OciRuntime implements Runtime {
  readonly name = 'oci'
  readonly #parts: OciParts
  readonly #config: OciConfig
  readonly #exits: ExitFiles
  readonly #place: PlaceMonitor | undefined
  readonly #watch: ExitWatch
  #shims: Readonly<Record<OciRuntimeName, string>> = { runc: '', crun: '' }

  constructor(parts: OciParts, config: OciConfig) {
    this.#parts = parts
    this.#config = config
    this.#exits = new ExitFiles(join(config.runDir, 'exits'))
    const exitOf = (containerId: string): ContainerExit | undefined => this.#exitOf(containerId)
    this.#watch = new ExitWatch({ ...parts, exits: this.#exits, exitOf }, config)
    this.#place = monitorPlace(parts.layout, config.cgroupParent)
  }

  async start(): Promise<void> {
    const { runDir, shimDir, programs } = this.#config
    await mkdir(join(runDir, 'c'), { recursive: true, mode: 0o711 })
    const hide = this.#parts.layout.mode === 'hybrid' ? this.#parts.layout.unified : undefined
    this.#shims = writeShims(shimDir, join(runDir, 'oci'), programs, hide)
    this.#watch.start()
  }

  /** Containers go on; the cgroup that holds them goes too where none is left. */
  async stop(): Promise<void> {
    await this.#watch.stop()
    const own = cgroupDirectories(this.#parts.layout, this.#config.cgroupParent)
    await removeEmpty([...own.map((directory) => join(directory, monitorsName)), ...own])
  }

  check(): void {}

  holders(): readonly HolderKind[] {
    return ['conmon', 'runtime_state']
  }

  images(): undefined {
    return undefined
  }

  terminalProgram(): undefined {
    return undefined
  }

  /** conmon writes the exit after the last of the output. */
  completeLog(): Promise<void> {
    return Promise.resolve()
  }

  async launch(request: LaunchRequest, signal: AbortSignal): Promise<RunningContainer> {
    const { containerId, bundleDir } = request
    const config = Promise.resolve(request.config)
    config.catch(() => undefined) // awaited below
    try {
      // In memory on most hosts: synchronously the monitor is on its way before the first turn of the thread pool.
      mkdirSync(join(bundleDir, 'root'), { recursive: true, mode: 0o711 })
      const places = {
        program: this.#config.programs.conmon,
        shim: this.#shims[request.runtime],
        exitDir: dirname(this.#exits.pathOf('x'))
      }
      const ready = config.then((spec) => writeBundle(request, spec))
      const answer = await startConmon(places, request, { place: this.#place, ready }, signal)
      if ('message' in answer) {
        const spec = await config
        throw launchFault(answer.message, programOf(spec), isMemoryLimited(spec))
      }
      const startTicks = readProcess(answer.pid)?.startTicks ?? 0
      return { pid: answer.pid, startTicks, monitorPid: readPid(join(bundleDir, 'conmon.pid')) ?? 0 }
    } catch (cause) {
      await this.kill(containerId)
      await this.remove(containerId)
      this.dropExit(containerId)
      throw cause
    }
  }

  async inspect(containerId: string): Promise<Observed> {
    const exit = this.#exitOf(containerId)
    if (exit !== undefined) return { kind: 'exited', exit }
    const bundle = this.#bundleOf(containerId)
    const path = join(this.#config.cgroupParent, containerId)
    const { first, inside } = findFirst(readPid(join(bundle, 'pid')), containerId, () => pidsIn(this.#parts.layout, path))
    if (inside) {
      const monitorPid = findMonitor(bundle, containerId)?.pid ?? 0
      const container = first && { pid: first.pid, startTicks: first.startTicks, monitorPid }
      const wasLetBegin = existsSync(join(bundle, 'pid'))
      return container !== undefined && wasLetBegin ? { kind: 'running', container } : { kind: 'unknown', container }
    }
    return isThere(this.#parts.layout, path) || existsSync(bundle) ? { kind: 'remains' } : { kind: 'absent' }
  }

  async settled(containerId: string, signal: AbortSignal): Promise<Observed> {
    const { sleep } = this.#parts
    const seen = await untilSettled({ inspect: (id) => this.inspect(id), sleep }, containerId, signal)
    // The agent may have died before it put the monitor into its place.
    if (seen.kind === 'running' && seen.container.monitorPid > 1) await this.#place?.(seen.container.monitorPid)
    return seen
  }

  wait(containerId: string, signal: AbortSignal, unwatched?: () => void): Promise<ContainerExit> {
    return this.#watch.wait(containerId, signal, unwatched)
  }

  async signal(containerId: string, signal: number): Promise<void> {
    const seen = await this.inspect(containerId)
    const container = seen.kind === 'running' || seen.kind === 'unknown' ? seen.container : undefined
    if (container === undefined || !isSameProcess(container.pid, container.startTicks)) return
    try {
      process.kill(container.pid, signal)
    } catch {
      // It ended between the look and the signal.
    }
  }

  async kill(containerId: string): Promise<void> {
    const path = join(this.#config.cgroupParent, containerId)
    const own = unifiedDirectory(this.#parts.layout, path)
    if (own !== undefined && killCgroup(own)) return
    await this.signal(containerId, 9)
  }

  /** conmon that has not written its pid yet is found by its arguments. */
  async endLaunch(containerId: string): Promise<'never-ran' | 'may-have-run'> {
    const mayHaveRun = this.#wasLetBegin(containerId)
    for (const pid of findByArgument(containerId)) killGroup(pid)
    await this.kill(containerId)
    for (const pid of findByArgument(containerId)) killGroup(pid)
    await this.#untilEmpty(containerId)
    return mayHaveRun || this.#wasLetBegin(containerId) ? 'may-have-run' : 'never-ran'
  }

  /**
   * The runtime writes the container's pid only after the program began (`run --detach`). Until then its state holds the FIFO on
   * which the program waits; it takes the FIFO away as it lets it go (runc, `Container.Start` and `exec`).
   */
  #wasLetBegin(containerId: string): boolean {
    if (existsSync(join(this.#bundleOf(containerId), 'pid'))) return true
    const states = ['runc', 'crun'].map((name) => join(this.#config.runDir, 'oci', name, containerId))
    return states.some((state) => existsSync(state) && !existsSync(join(state, 'exec.fifo')))
  }

  /**
   * In-process, because `runc delete` costs 10 ms even for what is dead (facts on launch, 9): nothing of the container runs any
   * more (its cgroup is seen empty first), no hooks were asked for, so its state directory and bundle are all there is. The
   * cgroup belongs to the isolator.
   */
  async remove(containerId: string): Promise<void> {
    await this.#untilEmpty(containerId)
    const state = join(this.#config.runDir, 'oci')
    const all = [this.#bundleOf(containerId), join(state, 'runc', containerId), join(state, 'crun', containerId)]
    for (const path of all) await this.#removeTree(path)
  }

  /**
   * A dozen small files of our own making: synchronously they take less time than one turn of the thread pool each. conmon may
   * still write its last words there, which makes the directory anew not empty.
   */
  async #removeTree(path: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        rmSync(path, { recursive: true, force: true })
        return
      } catch (e) {
        const late = errnoOf(e) === 'ENOTEMPTY' || errnoOf(e) === 'EBUSY'
        if (!late || attempt === removalTries) throw e
        await this.#parts.sleep(removalPauseMs, new AbortController().signal)
      }
    }
  }

  dropExit(containerId: string): void {
    rmSync(this.#exits.pathOf(containerId), { force: true })
  }

  execCommand(request: ExecRequest): readonly string[] {
    const runtime = existsSync(join(this.#config.runDir, 'oci', 'crun', request.containerId)) ? 'crun' : 'runc'
    return [
      this.#shims[runtime],
      'exec',
      ...['--cwd', request.workingDirectory, '--pid-file', request.pidFile],
      ...(request.user === '' ? [] : ['--user', request.user]),
      ...(request.terminal ? ['--tty'] : []),
      ...request.environment.flatMap((e) => ['--env', e]),
      request.containerId,
      ...request.arguments
    ]
  }

  #exitOf(containerId: string): ContainerExit | undefined {
    const code = this.#exits.read(containerId)
    if (code === undefined) return undefined
    const path = join(this.#config.cgroupParent, containerId)
    const outOfMemory = code !== 0 && readOomKills(this.#parts.layout, path) > 0
    return { kind: 'exited', code, signal: code > 128 && code <= 128 + 64 ? code - 128 : undefined, outOfMemory }
  }

  #untilEmpty(containerId: string): Promise<void> {
    const path = join(this.#config.cgroupParent, containerId)
    return untilEmpty(this.#parts, path, removalPauseMs, new AbortController().signal)
  }

  #bundleOf(containerId: string): string {
    return join(this.#config.runDir, 'c', containerId)
  }
}

/**
 * crun cannot mount the root itself, and no runtime can inside a user namespace: the shim does, from the options left in the bundle.
 * There it also gives the container's streams to its root, who may open them again by name (/dev/stdout).
 */
function writeBundle(request: LaunchRequest, spec: RuntimeSpec): void {
  const [root, ...others] = spec['mounts'] as readonly OciMount[]
  const owner = rootIdOf(spec)
  const isMountedByShim = (request.runtime === 'crun' || owner !== undefined) && root?.destination === '/'
  if (isMountedByShim) writeFileSync(join(request.bundleDir, 'overlay'), `${root.options.join(',')}\n${owner ?? ''}\n`)
  writeFileSync(join(request.bundleDir, 'config.json'), JSON.stringify(isMountedByShim ? { ...spec, mounts: others } : spec))
}

function rootIdOf(config: RuntimeSpec): number | undefined {
  const { uidMappings } = config['linux'] as { readonly uidMappings?: readonly { readonly hostID: number }[] }
  return uidMappings?.[0]?.hostID
}

const programOf = (config: RuntimeSpec): string => {
  const { args } = config['process'] as { readonly args?: readonly string[] }
  return args?.[0] ?? ''
}

const isMemoryLimited = (config: RuntimeSpec): boolean => {
  const linux = config['linux'] as { readonly resources?: { readonly memory?: unknown }; readonly cgroupsPath?: string }
  return linux.resources?.memory !== undefined || (linux.cgroupsPath?.endsWith('/task') ?? false)
}
