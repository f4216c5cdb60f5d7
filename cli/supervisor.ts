import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { identityOf, type ProcessIdentity } from './process-identity.ts'

export interface DaemonPlan {
  readonly name: string
  readonly program: string
  readonly arguments: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Both of the daemon's outputs are appended here. */
  readonly logFile: string
}

export interface DaemonState {
  readonly name: string
  readonly process: ProcessIdentity | null
  readonly restarts: number
  readonly lastExit: string
}

export interface SupervisorParts {
  readonly clock: Clock
  readonly log: Log
  /** Called after each change; must not throw. */
  readonly report: (daemons: readonly DaemonState[]) => void
}

const firstPauseMs = 200
const mostPauseMs = 10_000
/** A daemon that ran this long is healthy: its next crash starts the pauses anew. */
const healthyMs = 60_000
const stopPatienceMs = 20_000

/** The pause before restart number `crashes` in a row (1 = the first). */
export const restartPauseMs = (crashes: number): number => Math.min(mostPauseMs, firstPauseMs * 2 ** Math.min(crashes - 1, 20))

/** Keeps daemons running: each is started again when it ends, until `stop`, which ends them in reverse order. */
export class Supervisor {
  readonly #parts: SupervisorParts
  readonly #keepers: Keeper[]

  constructor(parts: SupervisorParts, plans: readonly DaemonPlan[]) {
    this.#parts = parts
    this.#keepers = plans.map((plan) => new Keeper(plan, parts, () => this.#report()))
  }

  start(): void {
    for (const keeper of this.#keepers) keeper.start()
  }

  async stop(): Promise<void> {
    for (const keeper of [...this.#keepers].reverse()) await keeper.stop()
  }

  #report(): void {
    this.#parts.report(this.#keepers.map((k) => k.state))
  }
}

class Keeper {
  readonly #plan: DaemonPlan
  readonly #parts: SupervisorParts
  readonly #changed: () => void
  readonly #stopping = new AbortController()
  #child: ChildProcess | undefined
  #loop: Promise<void> = Promise.resolve()
  #state: DaemonState

  constructor(plan: DaemonPlan, parts: SupervisorParts, changed: () => void) {
    this.#plan = plan
    this.#parts = parts
    this.#changed = changed
    this.#state = { name: plan.name, process: null, restarts: 0, lastExit: '' }
  }

  get state(): DaemonState {
    return this.#state
  }

  start(): void {
    this.#loop = this.#keep()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#child?.kill('SIGTERM')
    const patience = new AbortController()
    const force = this.#parts.clock.sleep(stopPatienceMs, patience.signal).then(
      () => {
        this.#parts.log.warn({ daemon: this.#plan.name, patienceMs: stopPatienceMs }, 'daemon.stop_forced')
        this.#child?.kill('SIGKILL')
      },
      () => undefined // it ended in time
    )
    await this.#loop
    patience.abort()
    await force
  }

  async #keep(): Promise<void> {
    const { clock, log } = this.#parts
    for (let crashes = 0; !this.#stopping.signal.aborted; ) {
      const startedMs = clock.monotonicMs()
      const lastExit = await this.#runOnce()
      this.#update({ process: null, lastExit })
      if (this.#stopping.signal.aborted) break
      crashes = clock.monotonicMs() - startedMs >= healthyMs ? 1 : crashes + 1
      const pauseMs = restartPauseMs(crashes)
      log.warn({ daemon: this.#plan.name, lastExit, pauseMs }, 'daemon.ended')
      await clock.sleep(pauseMs, this.#stopping.signal).catch(() => undefined) // told to stop while waiting: the loop ends
      if (!this.#stopping.signal.aborted) this.#update({ restarts: this.#state.restarts + 1 })
    }
    log.info({ daemon: this.#plan.name }, 'daemon.stopped')
  }

  /** Resolves when the daemon has ended, with how. */
  #runOnce(): Promise<string> {
    const { program, arguments: args, env, logFile, name } = this.#plan
    return new Promise((resolve) => {
      const output = openSync(logFile, 'a', 0o640)
      const child = spawn(program, args, { env, stdio: ['ignore', output, output] })
      closeSync(output)
      this.#child = child
      const ended = (how: string): void => {
        this.#child = undefined
        resolve(how)
      }
      child.on('error', (e) => ended(`could not be started: ${e.message}`))
      child.on('exit', (code, signal) => ended(signal === null ? `exit code ${code}` : `ended by ${signal}`))
      if (child.pid === undefined) return
      this.#parts.log.info({ daemon: name, pid: child.pid }, 'daemon.started')
      this.#update({ process: identityOf(child.pid) ?? null })
    })
  }

  #update(change: Partial<DaemonState>): void {
    this.#state = { ...this.#state, ...change }
    this.#changed()
  }
}
