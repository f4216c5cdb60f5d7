import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../base/fault.ts'
import { findByArgument, killGroup } from '../../isolators/runtime/oci/process-table.ts'
import type { Init } from '../../proto/codec.ts'
import type { TaskDefinition } from '../../proto/gen/messages.ts'
import { readJson, sendRequest } from '../../sdk/http.ts'
import { type Start, stagesIn } from './agent-start.ts'
import { importImage } from './busybox-image.ts'
import { dropCgroup } from './cgroups.ts'
import type { Cleanup } from './cleanup.ts'
import type { Contender } from './contender.ts'
import { eventually } from './eventually.ts'
import { type BenchRuntime, HearthContainer } from './hearth-container.ts'
import { processCpuMs } from './machine.ts'
import { awaitDeath, end, killed } from './programs.ts'
import { ScriptedMaster } from './scripted-master.ts'

export interface AgentOptions {
  /** Of the checkout that is measured. */
  readonly root: string
  /** An empty directory of a short path; the agent's state goes below it. */
  readonly directory: string
  /** Mounted into every container, for its FIFO. */
  readonly fifoDir: string
  readonly node?: string
  readonly logLevel?: 'debug' | 'info'
  /** Of a dockerd that listens already. */
  readonly dockerSocket?: string
  /** A module loaded before the agent, with the file it writes to. */
  readonly hook?: { readonly module: string; readonly output: string }
}

const startPatienceMs = 30_000

/** A real agent process with a scripted master: what the agent itself costs, nothing more. */
export class AgentUnderTest {
  readonly master: ScriptedMaster
  readonly fifoDir: string
  readonly stateDir: string
  readonly cgroupParent = `/hearth-bench-${randomBytes(4).toString('hex')}`
  readonly #options: AgentOptions
  readonly #logPath: string
  /** Ends it with all its containers, and removes its state. */
  stop: () => Promise<void> = () => this.#stop()
  #child: ChildProcess | undefined
  #logRead = 0
  readonly #receivedNs = new Map<string, bigint>()

  private constructor(options: AgentOptions) {
    this.#options = options
    this.fifoDir = options.fifoDir
    this.stateDir = join(options.directory, 's')
    this.#logPath = join(options.directory, 'agent.out')
    this.master = new ScriptedMaster(join(options.directory, 'm.sock'))
  }

  static async start(options: AgentOptions, cleanup: Cleanup): Promise<AgentUnderTest> {
    mkdirSync(options.directory, { recursive: true })
    const agent = new AgentUnderTest(options)
    agent.stop = cleanup.add('the agent under test', () => agent.#stop())
    await agent.master.listen()
    const registered = agent.master.registered(AbortSignal.timeout(startPatienceMs))
    const died = agent.#spawn()
    await Promise.race([registered, died])
    return agent
  }

  /** Kills the agent, whose containers go on, and starts it anew: how long it takes until it says that it has started. */
  async restart(): Promise<Start> {
    if (this.#child !== undefined) await killed(this.#child)
    const from = statSync(this.#logPath).size
    const registered = this.master.registered(AbortSignal.timeout(startPatienceMs))
    registered.catch(() => undefined) // awaited below, where the agent started at all
    const sinceMs = performance.now()
    let died: unknown
    void this.#spawn().catch((e: unknown) => {
      died = e
    })
    for (;;) {
      const said = readFileSync(this.#logPath).subarray(from).toString()
      if (said.includes('"agent.started"}\n')) {
        const start = { ms: performance.now() - sinceMs, cpuMs: processCpuMs(this.pid), stages: stagesIn(said) }
        await registered
        return start
      }
      if (died !== undefined) throw died
      if (performance.now() - sinceMs > startPatienceMs) throw new Fault('timeout', 'the agent does not start')
      await pause(2)
    }
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  bundleOf(containerId: string): string {
    return join(this.stateDir, 'run/c', containerId)
  }

  sandboxOf(containerId: string): string {
    return join(this.stateDir, 'agent/sandboxes', containerId)
  }

  /** What its local API answers, from its unix socket. */
  async get(path: string): Promise<unknown> {
    const endpoint = { kind: 'socket', path: join(this.stateDir, 'run/agent.sock') } as const
    return readJson(await sendRequest(endpoint, { method: 'GET', path }, AbortSignal.timeout(startPatienceMs)))
  }

  importImage(rootfs: string): Promise<void> {
    return importImage(join(this.stateDir, 'run/agent.sock'), rootfs)
  }

  prepare(runtime: BenchRuntime, more: Init<TaskDefinition> = {}): HearthContainer {
    return new HearthContainer(this, runtime, more)
  }

  contender(name: string, runtime: BenchRuntime, more: Init<TaskDefinition> = {}): Contender {
    return { name, prepare: async () => this.prepare(runtime, more) }
  }

  /** When the Launch frame's last byte came to the agent, as it wrote into its log before it did anything. */
  receivedNs(containerId: string): bigint {
    const text = readFileSync(this.#logPath, 'utf8')
    for (const line of text.slice(this.#logRead).split('\n')) {
      if (!line.includes('"launch.received"')) continue
      const row = JSON.parse(line) as { readonly containerId: string; readonly receivedNs: string }
      this.#receivedNs.set(row.containerId, BigInt(row.receivedNs))
    }
    this.#logRead = text.lastIndexOf('\n') + 1
    const found = this.#receivedNs.get(containerId)
    if (found === undefined) throw new Fault('unavailable', `the agent's log does not tell when ${containerId} was ordered`)
    return found
  }

  #spawn(): Promise<never> {
    const { root, node = process.execPath, logLevel = 'debug', hook, dockerSocket = '/nowhere/docker.sock' } = this.#options
    mkdirSync(this.stateDir, { recursive: true, mode: 0o711 })
    writeFileSync(join(this.stateDir, 'agent-token'), 'bench\n', { mode: 0o600 })
    const output = openSync(this.#logPath, 'a')
    const child = spawn(
      node,
      [
        ...(hook === undefined ? [] : ['-r', hook.module]),
        ...['--max-semi-space-size=1', join(root, 'dist/start-agent.cjs'), '--state-dir', this.stateDir],
        ...['--masters', `unix:${join(this.#options.directory, 'm.sock')}`, '--allow-mount', this.fifoDir],
        ...['--cgroup-parent', this.cgroupParent, '--log-level', logLevel, '--health-dns', 'no'],
        ...['--allow-unconfined', 'yes', '--allow-device', '/dev/null', '--docker-socket', dockerSocket]
      ],
      {
        cwd: '/',
        detached: true, // so that Ctrl-C reaches the bench alone, which then ends it in order
        stdio: ['ignore', output, output],
        env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8', ...(hook === undefined ? {} : { BENCH_TRACE: hook.output }) }
      }
    )
    closeSync(output)
    this.#child = child
    return new Promise((_resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => {
        const tail = existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8').slice(-600) : ''
        reject(new Fault('unavailable', `the agent ended with ${code}: ${tail}`))
      })
    })
  }

  /**
   * Stops the agent, then whatever containers it may have left: a measured agent may be a broken one, and a launch that it was in
   * the middle of goes on without it.
   */
  async #stop(): Promise<void> {
    if (this.#child !== undefined) await end(this.#child)
    this.master.close()
    const bootDir = this.#bootDir()
    const monitors = (): readonly number[] => findByArgument(join(bootDir, 'exits'))
    const found = monitors()
    for (const pid of found) killGroup(pid)
    await dropCgroup(this.cgroupParent)
    await awaitDeath(found)
    await eventually('the last monitor to end', () => monitors().length === 0)
    // What a runtime made while its monitor was being ended.
    await dropCgroup(this.cgroupParent)
    rmSync(bootDir, { recursive: true, force: true })
    rmSync(this.stateDir, { recursive: true, force: true })
  }

  /** Where the agent put the files that die with the boot. */
  #bootDir(): string {
    const run = join(this.stateDir, 'run')
    try {
      return dirname(realpathSync(join(run, 'c')))
    } catch {
      return run // it never came as far as this
    }
  }
}
