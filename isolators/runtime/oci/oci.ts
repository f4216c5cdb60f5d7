import { existsSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, Fault } from '../../../base/fault.ts'
import { type CgroupLayout, cgroupDirectories, unifiedDirectory } from '../../cgroup2/layout.ts'
import { readOomKills } from '../../cgroup2/limits.ts'
import { isPopulated, joinCgroup, killCgroup, makeCgroup, removeEmpty } from '../../cgroup2/tree.ts'
import type { OciMount } from '../../isolator.ts'
import type { ContainerExit, ExecRequest, LaunchRequest, Observed, RunningContainer, Runtime, RuntimeSpec } from '../runtime.ts'
import { type PlaceMonitor, startConmon } from './conmon.ts'
import { ExitFiles } from './exits.ts'
import { launchFault } from './failure.ts'
import { findByArgument, isInCgroup, isSameProcess, killGroup, readProcess } from './process-table.ts'
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

/** How often the monitor of a running container is looked at: only a conmon that was killed needs it. */
const monitorCheckMs = 2_000
const removalTries = 100
const removalPauseMs = 10

const unseenEnd = 'the container ended while nothing watched it: its monitor was killed, or had no room to write the exit code'

interface Watched {
  monitorPid: number | undefined
  readonly settle: (exit: ContainerExit) => void
}

/** Cgroup of the conmons on v2 hosts. */
const monitorsName = 'monitors'

/** conmon over runc or crun: conmon holds stdio, log and exit code while the agent is down. */
export class OciRuntime implements Runtime {
  readonly name = 'oci'
  readonly #parts: OciParts
  readonly #config: OciConfig
  readonly #exits: ExitFiles
  readonly #place: PlaceMonitor | undefined
  readonly #watched = new Map<string, Watched>()
  readonly #stopping = new AbortController()
  #sweeping: Promise<void> | undefined
  #shims: Readonly<Record<OciRuntimeName, string>> = { runc: '', crun: '' }

  constructor(parts: OciParts, config: OciConfig) {
    this.#parts = parts
    this.#config = config
    this.#exits = new ExitFiles(join(config.runDir, 'exits'))
    this.#place = parts.layout.mode === 'v2' ? (pid) => this.#placeMonitor(pid) : undefined
  }

  async start(): Promise<void> {
    const { runDir, shimDir, programs } = this.#config
    await mkdir(join(runDir, 'c'), { recursive: true, mode: 0o711 })
    const hide = this.#parts.layout.mode === 'hybrid' ? this.#parts.layout.unified : undefined
    this.#shims = writeShims(shimDir, join(runDir, 'oci'), programs, hide)
    this.#exits.start()
    this.#sweeping = this.#sweep(this.#stopping.signal)
  }

  /** Containers go on; the cgroup that holds them goes too where none is left. */
  async stop(): Promise<void> {
    this.#exits.stop()
    this.#stopping.abort()
    await this.#sweeping
    const own = cgroupDirectories(this.#parts.layout, this.#config.cgroupParent)
    await removeEmpty([...own.map((directory) => join(directory, monitorsName)), ...own])
  }

  async launch(request: LaunchRequest, signal: AbortSignal): Promise<RunningContainer> {
    const { containerId, bundleDir } = request
    const config = Promise.resolve(request.config)
    config.catch(() => undefined) // awaited below
    try {
      await mkdir(join(bundleDir, 'root'), { recursive: true, mode: 0o711 })
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
    const code = this.#exits.read(containerId)
    if (code !== undefined) return { kind: 'exited', exit: this.#exitOf(containerId, code) }
    const bundle = this.#bundleOf(containerId)
    const pid = readPid(join(bundle, 'pid'))
    const process = pid === undefined ? undefined : readProcess(pid)
    if (pid !== undefined && process !== undefined && isInCgroup(pid, containerId)) {
      const monitorPid = readPid(join(bundle, 'conmon.pid')) ?? 0
      return { kind: 'running', container: { pid, startTicks: process.startTicks, monitorPid } }
    }
    const own = unifiedDirectory(this.#parts.layout, join(this.#config.cgroupParent, containerId))
    const cgroup = own === undefined ? undefined : await isPopulated(own)
    return cgroup !== undefined || existsSync(join(bundle, 'config.json')) ? { kind: 'remains' } : { kind: 'absent' }
  }

  wait(containerId: string, signal: AbortSignal): Promise<ContainerExit> {
    return new Promise<ContainerExit>((resolve, reject) => {
      const unwatch = this.#exits.watch(containerId, () => look())
      const over = (): void => {
        unwatch()
        this.#watched.delete(containerId)
        signal.removeEventListener('abort', stop)
      }
      const stop = (): void => {
        over()
        reject(signal.reason as Error)
      }
      const settle = (exit: ContainerExit): void => {
        over()
        resolve(exit)
      }
      const look = (): void => {
        const code = this.#exits.read(containerId)
        if (code !== undefined) settle(this.#exitOf(containerId, code))
      }
      this.#watched.set(containerId, { monitorPid: undefined, settle })
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) stop()
      else look()
    })
  }

  async signal(containerId: string, signal: number): Promise<void> {
    const seen = await this.inspect(containerId)
    if (seen.kind !== 'running' || !isSameProcess(seen.container.pid, seen.container.startTicks)) return
    try {
      process.kill(seen.container.pid, signal)
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

  /**
   * conmon that has not written its pid yet is found by its arguments. The runtime writes the container's pid before it lets
   * the program begin, so without that file the program never ran.
   */
  async endLaunch(containerId: string): Promise<'never-ran' | 'may-have-run'> {
    for (const pid of findByArgument(containerId)) killGroup(pid)
    await this.kill(containerId)
    for (const pid of findByArgument(containerId)) killGroup(pid)
    return existsSync(join(this.#bundleOf(containerId), 'pid')) ? 'may-have-run' : 'never-ran'
  }

  /**
   * In-process, because `runc delete` costs 10 ms even for what is dead (facts on launch, 9): nothing of the container runs any
   * more, no hooks were asked for, so its state directory and bundle are all there is. The cgroup belongs to the isolator.
   */
  async remove(containerId: string): Promise<void> {
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

  #exitOf(containerId: string, code: number): ContainerExit {
    const path = join(this.#config.cgroupParent, containerId)
    const outOfMemory = code !== 0 && readOomKills(this.#parts.layout, path) > 0
    return { kind: 'exited', code, signal: code > 128 && code <= 128 + 64 ? code - 128 : undefined, outOfMemory }
  }

  /** One look at all monitors every so often: only one that was killed, or could not write the exit code, needs it. */
  async #sweep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#parts.sleep(monitorCheckMs, signal).catch(() => undefined) // stopping
      for (const [containerId, watched] of this.#watched) {
        watched.monitorPid ??= readPid(join(this.#bundleOf(containerId), 'conmon.pid'))
        if (watched.monitorPid !== undefined && readProcess(watched.monitorPid) !== undefined) continue
        const seen = await this.inspect(containerId)
        if (seen.kind === 'exited') watched.settle(seen.exit)
        else if (seen.kind !== 'running') watched.settle({ kind: 'lost', why: unseenEnd })
      }
    }
  }

  async #placeMonitor(pid: number): Promise<void> {
    const path = join(this.#config.cgroupParent, monitorsName)
    const unified = this.#parts.layout.unified
    if (unified === undefined) throw new Fault('unavailable', 'the cgroup v2 tree is not mounted')
    await makeCgroup(unified, path, [])
    await joinCgroup(join(unified, path), pid)
  }

  #bundleOf(containerId: string): string {
    return join(this.#config.runDir, 'c', containerId)
  }
}

/** crun cannot mount the root itself: its shim does, from the options left in the bundle. */
async function writeBundle(request: LaunchRequest, spec: RuntimeSpec): Promise<void> {
  const config = join(request.bundleDir, 'config.json')
  const [root, ...others] = spec['mounts'] as readonly OciMount[]
  if (request.runtime === 'runc' || root?.destination !== '/') return writeFile(config, JSON.stringify(spec))
  await writeFile(join(request.bundleDir, 'overlay'), `${root.options.join(',')}\n`)
  return writeFile(config, JSON.stringify({ ...spec, mounts: others }))
}

function readPid(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'))
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined // not written yet, or never
  }
}

const programOf = (config: RuntimeSpec): string => {
  const { args } = config['process'] as { readonly args?: readonly string[] }
  return args?.[0] ?? ''
}

const isMemoryLimited = (config: RuntimeSpec): boolean => {
  const linux = config['linux'] as { readonly resources?: { readonly memory?: unknown }; readonly cgroupsPath?: string }
  return linux.resources?.memory !== undefined || (linux.cgroupsPath?.endsWith('/task') ?? false)
}
