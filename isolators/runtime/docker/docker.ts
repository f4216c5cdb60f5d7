import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault, isFault } from '../../../base/fault.ts'
import { type CgroupLayout, unifiedDirectory } from '../../cgroup2/layout.ts'
import { isThere, pidsIn, untilEmpty } from '../../cgroup2/population.ts'
import { killCgroup } from '../../cgroup2/tree.ts'
import type { IsolatorRequest } from '../../isolator.ts'
import { findFirst } from '../first-process.ts'
import { ExitFiles } from '../oci/exits.ts'
import { launchFault } from '../oci/failure.ts'
import { readPid } from '../oci/monitor.ts'
import { isSameProcess } from '../oci/process-table.ts'
import type {
  ContainerExit,
  ContainerImages,
  ExecRequest,
  HolderKind,
  LaunchRequest,
  Observed,
  RunningContainer,
  Runtime,
  RuntimeSpec
} from '../runtime.ts'
import { AskedFor } from './asked-for.ts'
import { containerBody } from './container-body.ts'
import { Ends, exitOf } from './ends.ts'
import type { Engine } from './engine.ts'
import { dockerImages } from './images.ts'
import { LogCopy } from './log-copy.ts'

interface DockerParts {
  readonly layout: CgroupLayout
  /** Connects, and loads what that needs, at its first call. */
  readonly engine: () => Promise<Engine>
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export interface DockerConfig {
  /** Boot-bound directory; bundles lie in `c/` below it. */
  readonly runDir: string
  /** Outlives the boot, as Docker's containers do: names of those that Docker was asked for. */
  readonly askedDir: string
  readonly cgroupParent: string
  /** Of all containers of this agent, as the value of `org.hearth.agent`. */
  readonly agentId: () => string
  readonly logPathOf: (containerId: string) => string
  /** Command line of the program behind execs and terminals (agent/host/docker-main.ts). */
  readonly program: readonly string[]
}

export const containerName = (containerId: string): string => `hearth-${containerId}`
export const agentLabel = 'org.hearth.agent'
const pauseMs = 10
const downPauseMs = 1_000
const unending = new AbortController().signal

/** Docker holds stdio, log and exit code while the agent is down; limits, signals and the first process are the kernel's word. */
export class DockerRuntime implements Runtime {
  readonly name = 'docker'
  readonly #parts: DockerParts
  readonly #config: DockerConfig
  readonly #exits: ExitFiles
  readonly #asked: AskedFor
  readonly #logs = new Map<string, LogCopy>()
  readonly #ends: Ends
  #isFit = false

  constructor(parts: DockerParts, config: DockerConfig) {
    this.#parts = parts
    this.#config = config
    this.#exits = new ExitFiles(join(config.runDir, 'exits'))
    this.#asked = new AskedFor(config.askedDir)
    this.#ends = new Ends(parts, () => `${agentLabel}=${config.agentId()}`)
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#config.runDir, 'exits'), { recursive: true, mode: 0o700 })
  }

  async stop(): Promise<void> {
    await this.#ends.stop()
    await Promise.all([...this.#logs.values()].map((copy) => copy.stop()))
  }

  check({ limits, walls, shared = [] }: IsolatorRequest, when: 'launch' | 'resize'): void {
    const refuse = (why: string): Fault => new Fault('unsupported', why, { reason: 'unsupported_request' })
    if (walls.ids !== undefined) {
      throw refuse('Docker has one user namespace for all its containers: run the task with --runtime oci to have its role’s own')
    }
    if (shared.length > 0) throw refuse('Docker runs no pods: run each of its containers with --runtime oci')
    if (limits.diskBytes > 0) {
      const why = 'what a container of Docker writes is not counted, so that it can have no disk limit: leave --disk out'
      throw refuse(`${why}, or run the task with --runtime oci`)
    }
    if (when === 'resize' && this.#parts.layout.mode !== 'v2') {
      throw refuse('on cgroup v1 the limits of a container of Docker’s cannot be changed while it runs: start it again')
    }
  }

  holders(): readonly HolderKind[] {
    return ['docker_container']
  }

  images(): ContainerImages {
    return dockerImages(this.#parts.engine)
  }

  async launch(request: LaunchRequest, signal: AbortSignal): Promise<RunningContainer> {
    const { containerId, bundleDir } = request
    const name = containerName(containerId)
    try {
      mkdirSync(bundleDir, { recursive: true, mode: 0o711 })
      const spec = await request.config
      const engine = await this.#parts.engine()
      await this.#fit(engine)
      const body = this.#bodyOf(request, spec)
      writeFileSync(join(bundleDir, 'config.json'), JSON.stringify(spec))
      this.#asked.put(containerId)
      await createAnew(engine, name, body)
      signal.throwIfAborted()
      await engine.start(name).catch((e: unknown) => Promise.reject(startFault(e, spec)))
      await resizeTo(engine, name, spec)
      const { first } = this.#firstOf(containerId)
      if (first !== undefined) put(join(bundleDir, 'pid'), String(first.pid))
      signal.throwIfAborted()
      this.#copyOf(containerId)
      return { pid: first?.pid ?? 0, startTicks: first?.startTicks ?? 0, monitorPid: 0 }
    } catch (cause) {
      await this.kill(containerId)
      await this.remove(containerId)
      throw cause
    }
  }

  async inspect(containerId: string): Promise<Observed> {
    const code = this.#exits.read(containerId)
    if (code !== undefined) return { kind: 'exited', exit: exitOf({ exitCode: code, outOfMemory: false }) }
    const bundle = this.#bundleOf(containerId)
    const remains = existsSync(bundle) || isThere(this.#parts.layout, this.#cgroupOf(containerId))
    if (!this.#asked.has(containerId)) return remains ? { kind: 'remains' } : { kind: 'absent' }
    // Of an earlier boot: what Docker tells of its end is Docker's guess.
    if (!existsSync(bundle)) return { kind: 'remains' }
    const seen = await this.#ask(containerId)
    if (seen === 'down') return this.#observedByKernel(containerId)
    if (seen === undefined) return { kind: 'remains' }
    if (seen.state === 'ended') return { kind: 'exited', exit: exitOf(seen) }
    return seen.state === 'running' ? { kind: 'running', container: this.#runningOf(containerId) } : { kind: 'remains' }
  }

  /** Docker makes whoever asks wait while it is at work on the container. */
  async settled(containerId: string, signal: AbortSignal): Promise<Observed> {
    while (this.#asked.has(containerId) && !signal.aborted && (await this.#ask(containerId)) === 'down') {
      await this.#parts.sleep(downPauseMs, signal).catch(() => undefined) // one last look
    }
    return this.inspect(containerId)
  }

  async wait(containerId: string, signal: AbortSignal): Promise<ContainerExit> {
    this.#copyOf(containerId)
    const known = this.#exits.read(containerId)
    const exit =
      known === undefined
        ? await this.#ends.wait(containerName(containerId), signal)
        : exitOf({ exitCode: known, outOfMemory: false })
    await untilEmpty(this.#parts, this.#cgroupOf(containerId), pauseMs, signal)
    await this.completeLog(containerId)
    if (exit.kind === 'exited' && !exit.outOfMemory) put(this.#exits.pathOf(containerId), String(exit.code))
    return exit
  }

  async completeLog(containerId: string): Promise<void> {
    if (!this.#asked.has(containerId) || !existsSync(this.#bundleOf(containerId))) return
    await this.#patiently(async () => {
      // Waited for while nobody answers; output that Docker itself cannot read any more is lost.
      await this.#copyOf(containerId)
        .complete()
        .catch((e: unknown) => (isFault(e) && !isDown(e) ? undefined : Promise.reject(e as Error)))
      this.#logs.delete(containerId)
    })
  }

  async signal(containerId: string, signal: number): Promise<void> {
    const { first } = this.#firstOf(containerId)
    if (first === undefined || !isSameProcess(first.pid, first.startTicks)) return
    try {
      process.kill(first.pid, signal)
    } catch {
      // It ended between the look and the signal.
    }
  }

  async kill(containerId: string): Promise<void> {
    const own = unifiedDirectory(this.#parts.layout, this.#cgroupOf(containerId))
    if (own !== undefined && killCgroup(own)) return
    await this.signal(containerId, 9)
  }

  /** Only a container that never began can be removed without force: Docker itself says which it was. */
  async endLaunch(containerId: string): Promise<'never-ran' | 'may-have-run'> {
    if (!this.#asked.has(containerId)) return 'never-ran'
    return this.#patiently(async () => {
      const engine = await this.#parts.engine()
      const name = containerName(containerId)
      const seen = await engine.inspect(name)
      if (seen?.hasRun !== true) {
        const left = await engine.remove(name, false).then(
          () => 'removed' as const,
          (e: unknown) => (isFault(e, 'conflict') ? ('runs' as const) : Promise.reject(e as Error))
        )
        if (left === 'removed') return 'never-ran'
      }
      await this.kill(containerId)
      await untilEmpty(this.#parts, this.#cgroupOf(containerId), pauseMs, unending)
      return 'may-have-run'
    })
  }

  async remove(containerId: string): Promise<void> {
    if (this.#asked.has(containerId)) {
      await this.#logs.get(containerId)?.stop()
      this.#logs.delete(containerId)
      await this.#patiently(async () => (await this.#parts.engine()).remove(containerName(containerId), true))
      await untilEmpty(this.#parts, this.#cgroupOf(containerId), pauseMs, unending)
      this.#asked.drop(containerId)
    }
    rmSync(this.#bundleOf(containerId), { recursive: true, force: true })
  }

  dropExit(containerId: string): void {
    rmSync(this.#exits.pathOf(containerId), { force: true })
  }

  execCommand(request: ExecRequest): readonly string[] {
    return [...this.#config.program, 'exec', '--pid-file', request.pidFile, request.containerId, ...request.arguments]
  }

  terminalProgram(): readonly string[] {
    return this.#config.program
  }

  #bodyOf(request: LaunchRequest, spec: RuntimeSpec): Readonly<Record<string, unknown>> {
    const annotations = (spec['annotations'] ?? {}) as Readonly<Record<string, string>>
    const { 'org.hearth.row': _row, ...labels } = annotations
    return containerBody(spec, {
      ...request,
      labels: { ...labels, [agentLabel]: this.#config.agentId(), 'org.hearth.container': request.containerId },
      cgroupParent: this.#cgroupOf(request.containerId)
    })
  }

  #copyOf(containerId: string): LogCopy {
    const known = this.#logs.get(containerId)
    if (known !== undefined) return known
    const places = { logPath: this.#config.logPathOf(containerId), controlPath: join(this.#bundleOf(containerId), 'ctl') }
    const copy = new LogCopy(this.#parts, containerName(containerId), places)
    this.#logs.set(containerId, copy)
    copy.start()
    return copy
  }

  /** A cgroup of Hearth's can hold its containers only where Docker makes its cgroups by their paths. */
  async #fit(engine: Engine): Promise<void> {
    if (this.#isFit) return
    const { cgroupDriver } = await engine.info()
    if (cgroupDriver !== 'cgroupfs') {
      const how = 'start dockerd with --exec-opt native.cgroupdriver=cgroupfs'
      const why = `Docker of this node makes its cgroups by ${cgroupDriver}, where Hearth’s limits cannot hold: ${how}`
      throw new Fault('unsupported', why, { reason: 'unsupported_request' })
    }
    this.#isFit = true
  }

  async #ask(containerId: string) {
    try {
      return await (await this.#parts.engine()).inspect(containerName(containerId))
    } catch (e) {
      if (!isFault(e)) throw e
      return 'down' as const
    }
  }

  /** Tries again while Docker is down, cannot, or is at it already. */
  async #patiently<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await act()
      } catch (e) {
        if (!isFault(e)) throw e
        await this.#parts.sleep(downPauseMs, unending)
      }
    }
  }

  /** Whether it has ended Docker will tell when it is back: until then it counts as running once it was let begin. */
  #observedByKernel(containerId: string): Observed {
    const wasLetBegin = existsSync(join(this.#bundleOf(containerId), 'pid'))
    const container = this.#runningOf(containerId)
    return wasLetBegin ? { kind: 'running', container } : { kind: 'unknown', container: undefined }
  }

  #runningOf(containerId: string): RunningContainer {
    const { first } = this.#firstOf(containerId)
    return { pid: first?.pid ?? 0, startTicks: first?.startTicks ?? 0, monitorPid: 0 }
  }

  #firstOf(containerId: string): ReturnType<typeof findFirst> {
    const written = readPid(join(this.#bundleOf(containerId), 'pid'))
    return findFirst(written, containerId, () => pidsIn(this.#parts.layout, this.#cgroupOf(containerId)))
  }

  #cgroupOf(containerId: string): string {
    return join('/', this.#config.cgroupParent, containerId)
  }

  #bundleOf(containerId: string): string {
    return join(this.#config.runDir, 'c', containerId)
  }
}

export const isDown = (e: unknown): boolean => isFault(e, 'unavailable') && e.detail['reason'] === 'docker_down'

/** A name that is taken is of a launch that its agent did not live to see: nothing of it has run. */
async function createAnew(engine: Engine, name: string, body: Readonly<Record<string, unknown>>): Promise<void> {
  try {
    await engine.create(name, body)
  } catch (e) {
    if (!isFault(e, 'conflict')) throw e
    await engine.remove(name, false)
    await engine.create(name, body)
  }
}

/** API 1.41 takes the size of a terminal only once it is there. */
async function resizeTo(engine: Engine, name: string, spec: RuntimeSpec): Promise<void> {
  const { consoleSize } = spec['process'] as { readonly consoleSize?: { readonly height: number; readonly width: number } }
  if (consoleSize === undefined) return
  await engine.resize(name, consoleSize.height, consoleSize.width).catch((e: unknown) => {
    if (!isFault(e)) throw e // it has ended already
  })
}

function startFault(e: unknown, spec: RuntimeSpec): unknown {
  if (!isFault(e) || isDown(e)) return e
  const { args } = spec['process'] as { readonly args?: readonly string[] }
  const { resources } = spec['linux'] as { readonly resources?: { readonly memory?: unknown } }
  return launchFault(e.message, args?.[0] ?? '', resources?.memory !== undefined)
}

function put(path: string, text: string): void {
  writeFileSync(`${path}.draft`, text, { mode: 0o600 })
  renameSync(`${path}.draft`, path)
}
