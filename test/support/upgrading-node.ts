import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Init } from '../../proto/codec.ts'
import type { RestartPolicy, TaskStatus } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { isTerminal } from '../../proto/task-state.ts'
import { readJson, sendRequest } from '../../sdk/http.ts'
import { ScriptedMaster } from '../bench/scripted-master.ts'
import { type Ran, runProgram } from './cluster.ts'

interface Wanted {
  readonly taskId: string
  readonly containerId: string
  readonly script: string
  readonly restart: Init<RestartPolicy> | null
  readonly statuses: Map<number, TaskStatus>
  accepted: boolean
}

const frameworkId = 'upgrade-test'
const restartPauseMs = 100
const orderEveryMs = 200

/** A node of its own whose agent is kept by the launcher, as a unit with `Restart=always` keeps it, with a master that has tasks run. */
export class UpgradingNode {
  readonly library: string
  readonly stateDir: string
  readonly outDir: string
  readonly #directory: string
  readonly #launcher: string
  readonly #env: Readonly<Record<string, string>>
  readonly #cgroupParent = `/hearth-test-${randomBytes(4).toString('hex')}`
  readonly #master: ScriptedMaster
  readonly #tasks = new Map<string, Wanted>()
  #child: ChildProcess | undefined
  #kept = false
  #orders: NodeJS.Timeout | undefined

  constructor(directory: string, launcher: string, env: Readonly<Record<string, string>>) {
    this.#directory = directory
    this.#launcher = launcher
    this.#env = env
    this.library = join(directory, 'lib')
    this.stateDir = join(directory, 's')
    this.outDir = join(directory, 'out')
    for (const path of [join(this.library, 'versions'), this.stateDir, this.outDir]) mkdirSync(path, { recursive: true })
    writeFileSync(join(this.stateDir, 'agent-token'), 'test\n')
    this.#master = new ScriptedMaster(join(directory, 'm.sock'))
  }

  /** What the package's link leads to from now on; takes effect at the agent's next start. */
  install(version: string): void {
    const link = join(this.library, 'current')
    symlinkSync(`versions/${version}`, `${link}.new`)
    renameSync(`${link}.new`, link)
  }

  async start(): Promise<void> {
    await this.#master.listen()
    this.#kept = true
    this.#run()
    this.#orders = setInterval(() => this.#order(), orderEveryMs)
  }

  /** As `systemctl restart` does it; the keeper starts what the launcher then chooses. */
  restart(): void {
    this.#child?.kill('SIGTERM')
  }

  /** Orders a task until the agent has accepted it, and collects what it says. */
  launch(script: string, restart: Init<RestartPolicy> | null = null): string {
    const taskId = `t-${this.#tasks.size + 1}`
    const wanted = {
      taskId,
      containerId: newContainerId(),
      script,
      restart,
      statuses: new Map<number, TaskStatus>(),
      accepted: false
    }
    this.#tasks.set(taskId, wanted)
    this.#master.listenTo(taskId, (event) => {
      if ('status' in event) wanted.statuses.set(event.status.number, event.status)
      else wanted.accepted ||= event.answer.accepted
    })
    this.#order()
    return taskId
  }

  /** Distinct statuses in the order of their numbers. */
  statuses(taskId: string): readonly TaskStatus[] {
    return [...(this.#tasks.get(taskId)?.statuses.values() ?? [])].sort((a, b) => a.number - b.number)
  }

  hasEnded(taskId: string): boolean {
    return this.statuses(taskId).some((s) => s.state !== 'unspecified_state' && isTerminal(s.state))
  }

  get taskIds(): readonly string[] {
    return [...this.#tasks.keys()]
  }

  /** What the tasks wrote, one line each time one ran. */
  runsOf(taskId: string): number {
    const path = join(this.outDir, taskId)
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).length : 0
  }

  /** Words of a file of the launcher, or none. */
  book(name: string): string {
    const path = join(this.stateDir, 'agent/upgrade', name)
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : ''
  }

  /** The living agent's own words, or undefined while there is none. */
  async health(): Promise<Readonly<Record<string, unknown>> | undefined> {
    const endpoint = { kind: 'socket', path: join(this.stateDir, 'run/agent.sock') } as const
    try {
      const answer = await sendRequest(endpoint, { method: 'GET', path: '/v1/health' }, AbortSignal.timeout(5_000))
      return (await readJson(answer)) as Readonly<Record<string, unknown>>
    } catch {
      return undefined // between two starts
    }
  }

  get log(): string {
    return readFileSync(join(this.#directory, 'agent.log'), 'utf8')
  }

  /** Ends the agent as `restart` does, and starts none. */
  async stop(): Promise<void> {
    this.#kept = false
    clearInterval(this.#orders)
    const child = this.#child
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await ended
    }
    this.#master.close()
  }

  /** Runs a version's program by itself: `--stop-workloads` and the like. */
  runAlone(version: string, ...args: readonly string[]): Promise<Ran> {
    const program = join(this.library, 'versions', version, 'agent.cjs')
    const signal = AbortSignal.timeout(60_000)
    return runProgram(process.execPath, [program, ...this.#arguments, ...args], { signal })
  }

  get #arguments(): readonly string[] {
    const masters = ['--masters', `unix:${join(this.#directory, 'm.sock')}`]
    return [
      '--state-dir',
      this.stateDir,
      '--health-dns',
      'no',
      ...masters,
      '--allow-mount',
      this.outDir,
      '--cgroup-parent',
      this.#cgroupParent
    ]
  }

  #run(): void {
    const output = openSync(join(this.#directory, 'agent.log'), 'a')
    const child = spawn(this.#launcher, [this.library, this.stateDir, ...this.#arguments.slice(2)], {
      cwd: '/',
      env: { PATH: process.env['PATH'], HEARTH_NODE: process.execPath, ...this.#env },
      stdio: ['ignore', output, output]
    })
    closeSync(output)
    this.#child = child
    child.once('exit', () => setTimeout(() => this.#kept && this.#run(), restartPauseMs))
  }

  #order(): void {
    for (const task of this.#tasks.values()) {
      if (task.accepted) continue
      try {
        this.#master.send('Launch', {
          epoch: this.#master.epoch,
          containerId: task.containerId,
          attempt: 1,
          specDigest: 'd',
          group: {
            frameworkId,
            role: '*',
            tasks: [
              {
                taskId: task.taskId,
                name: task.taskId,
                image: 'host',
                process: { arguments: ['sh', '-c', `echo ran >> /out/${task.taskId}; ${task.script}`] },
                network: { mode: 'host' },
                restart: task.restart,
                mounts: [{ source: this.outDir, target: '/out', readOnly: false }]
              }
            ]
          }
        })
      } catch {
        return // no agent is connected: the next round asks again, as a master does
      }
    }
  }
}
