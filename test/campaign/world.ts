import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import { dropCgroup } from '../bench/cgroups.ts'
import type { Expected } from './invariants/expected.ts'
import { type Observation, observe } from './invariants/observe.ts'
import { bootDirsOf, type Places } from './invariants/places.ts'
import { seeProcesses } from './invariants/processes.ts'
import { violations } from './invariants/violations.ts'
import { CampaignMaster } from './master.ts'

export interface WorldOptions {
  /** An empty directory of a short path: unix sockets lie below it. Removed with the world. */
  readonly directory: string
  /** The agent's program: `dist/agent.cjs`, or a build of it for tests. */
  readonly program: string
  /** More words on the agent's command line, and more of its environment. */
  readonly arguments?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** A program that becomes the agent: it ends with `exec "$@"`. */
  readonly wrapper?: readonly string[]
  readonly withhold?: (number: number) => boolean
  /** The agent may end by itself: whoever runs the world looks at `isRunning`. Without it that is a problem. */
  readonly mayEnd?: boolean
}

/** What one start of the agent has of its own. */
export interface Start {
  readonly program?: string
  readonly env?: Readonly<Record<string, string>>
  /** A program with its arguments that runs the agent, such as strace. */
  readonly wrapper?: readonly string[]
}

/** A profile that tasks may name: it refuses nothing. */
const openProfile = JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [] })

/** Where tasks find the marks directory. */
export const marksMount = '/marks'

/** One agent with a state directory, a cgroup parent and a scripted master of its own. Several live side by side. */
export class World {
  readonly places: Places
  readonly master: CampaignMaster
  readonly #options: WorldOptions
  readonly #logPath: string
  #agent: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()
  #expectedEnd = true
  #isClosed = false
  readonly #problems: string[] = []

  private constructor(options: WorldOptions) {
    this.#options = options
    const { directory } = options
    const stateDir = join(directory, 's')
    this.places = {
      stateDir,
      bootDirs: bootDirsOf(stateDir),
      marksDir: join(directory, 'm'),
      cgroupParent: `/hearth-campaign-${randomBytes(4).toString('hex')}`
    }
    this.#logPath = join(directory, 'agent.log')
    this.master = new CampaignMaster(join(directory, 'master.sock'), options.withhold)
  }

  static async open(options: WorldOptions): Promise<World> {
    const world = new World(options)
    mkdirSync(world.places.stateDir, { recursive: true, mode: 0o711 })
    mkdirSync(world.places.marksDir)
    chmodSync(world.places.marksDir, 0o777) // tasks of other users leave marks too
    mkdirSync(join(options.directory, 'seccomp'))
    writeFileSync(join(options.directory, 'seccomp/open.json'), openProfile)
    writeFileSync(join(world.places.stateDir, 'agent-token'), 'campaign\n', { mode: 0o600 })
    await world.master.listen()
    return world
  }

  get agentPid(): number | undefined {
    return this.#expectedEnd ? undefined : this.#agent?.pid
  }

  get isRunning(): boolean {
    return this.#agent !== undefined
  }

  get socketPath(): string {
    return join(this.places.stateDir, 'run/agent.sock')
  }

  /** Whatever no agent may do: end by itself, refuse, forget. */
  get problems(): readonly string[] {
    return [...this.#problems, ...this.master.problems]
  }

  /** Starts the agent; returns before it is ready. */
  start(own: Start = {}): void {
    if (this.#isClosed) return // the campaign was stopped between a kill and the start after it
    const { stateDir, marksDir, cgroupParent } = this.places
    const { directory, program, arguments: more = [], env = {}, wrapper = [] } = this.#options
    const output = openSync(this.#logPath, 'a')
    const words = [
      ...['--max-semi-space-size=1', own.program ?? program, '--state-dir', stateDir, '--health-dns', 'no'],
      ...['--masters', `unix:${join(directory, 'master.sock')}`, '--allow-mount', marksDir],
      ...['--devices', 'full=/dev/full', '--allow-device', '/dev/null', '--seccomp-dir', join(directory, 'seccomp')],
      ...['--cgroup-parent', cgroupParent, '--log-level', 'debug', ...more]
    ]
    const [file = process.execPath, ...before] = [...(own.wrapper ?? wrapper), process.execPath]
    const agent = spawn(file, [...before, ...words], {
      cwd: '/',
      detached: true, // Ctrl-C reaches the campaign alone, which then ends its worlds in order
      stdio: ['ignore', output, output],
      env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8', ...env, ...own.env }
    })
    closeSync(output)
    this.#agent = agent
    this.#expectedEnd = false
    this.#ended = new Promise((resolve) => {
      agent.once('error', (e) => {
        this.#agent = undefined
        this.#problems.push(`the agent could not be started: ${e.message}`)
        resolve()
      })
      agent.once('exit', (code, signal) => {
        if (!this.#expectedEnd && this.#agent === agent && this.#options.mayEnd !== true) {
          this.#problems.push(`the agent ended by itself with ${signal ?? code}: ${this.logText().slice(-600)}`)
        }
        if (this.#agent === agent) this.#agent = undefined
        resolve()
      })
    })
  }

  /** Ends the agent and waits until it has ended; its tasks go on. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.#expectedEnd) return
    this.#expectedEnd = true
    this.#agent?.kill(signal)
    const late = setTimeout(() => {
      this.#problems.push(`the agent did not end within ${endWithinMs / 1000} s of ${signal}`)
      this.#agent?.kill('SIGKILL')
    }, endWithinMs)
    await this.#ended
    clearTimeout(late)
  }

  /** Starts the agent and waits until the master has it. */
  async startAndRegister(signal: AbortSignal): Promise<void> {
    const before = this.master.registrations
    this.start()
    await this.registered(before + 1, signal)
  }

  async registered(count: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    const patience = within(registerWithinMs, AbortSignal.any([signal, over.signal]))
    void this.#ended.then(() => over.abort(new Fault('unavailable', `the agent ended before it registered`)))
    await this.master
      .until(() => this.master.registrations >= count && this.master.connected, patience)
      .catch((e: unknown) => {
        throw signal.aborted ? e : new Fault('timeout', `no agent has registered: ${this.logText().slice(-600)}`, {}, e)
      })
  }

  observe(containerIds: readonly string[]): Observation {
    return observe(this.places, containerIds)
  }

  /** Looks until all invariants hold, at most `withinMs`; returns what is broken then. The costly look comes last. */
  async settle(expected: () => Expected, withinMs: number, signal: AbortSignal): Promise<readonly string[]> {
    const until = performance.now() + withinMs
    for (let pauseMs = 20; ; pauseMs = Math.min(500, pauseMs * 2)) {
      signal.throwIfAborted()
      const now = expected()
      const ids = now.tasks.map((t) => t.containerId)
      const isLast = performance.now() > until
      const broken = violations(now, observe(this.places, ids, isLast))
      if (isLast) return broken
      if (broken.length === 0 && violations(now, this.observe(ids)).length === 0) return []
      await pause(pauseMs)
    }
  }

  logText(): string {
    return existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8') : ''
  }

  /** Keeps the agent's log for whoever looks into a failure. */
  keepLog(path: string): void {
    if (existsSync(this.#logPath)) copyFileSync(this.#logPath, path)
  }

  /** Ends and removes everything, also what a broken agent left. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.end('SIGKILL')
    this.master.close()
    await dropCgroup(this.places.cgroupParent)
    for (let round = 0; round < 200; round += 1) {
      const left = seeProcesses(this.places)
      if (left.length === 0) break
      for (const { pid } of left) killIfThere(pid)
      await pause(10)
    }
    for (const path of [...this.places.bootDirs, this.#options.directory]) await rm(path, { recursive: true, force: true })
  }
}

const registerWithinMs = 30_000
const endWithinMs = 20_000

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has just ended.
  }
}
