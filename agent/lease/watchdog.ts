import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { argumentsOf, isSameProcess } from '../../isolators/runtime/oci/process-table.ts'
import { textOf } from './lease-file.ts'

interface Parts {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>
  readonly log: Log
  /** Moves it to where the containers' monitors are: it has to outlive the agent's own unit. */
  readonly place: ((pid: number) => Promise<void>) | undefined
}

interface Config {
  readonly directory: string
  /** perl, and agent/lease/watchdog.pl as it was built. */
  readonly command: readonly [string, ...string[]]
}

const patienceMs = 10_000
const lookMs = 2

/**
 * The one process of this node that ends containers whose lease has run out. It needs no agent: it is told by files, outlives every
 * agent, is found again by its pid and start time, and ends by itself with the last lease.
 */
export class Watchdog {
  readonly #parts: Parts
  readonly #config: Config
  #starting: Promise<void> | undefined

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  /** Its pid; undefined where none lives. */
  get pid(): number | undefined {
    return this.#named()?.pid
  }

  /** Resolves once it watches; to be called after a lease is written. Throws `Fault('unavailable')` where it cannot be started. */
  ensure(): Promise<void> {
    if (this.#starting === undefined && this.pid !== undefined) return Promise.resolve()
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined
    })
    return this.#starting
  }

  /** Resolves when it has seen that no lease is left, and ended. */
  async gone(): Promise<void> {
    const untilMs = this.#parts.clock.monotonicMs() + patienceMs
    const named = this.#named()
    // It takes its name away before its last look, and may put it there again.
    const lives = (): boolean => this.pid !== undefined || (named !== undefined && isSameProcess(named.pid, named.startTicks))
    while (lives() && this.#parts.clock.monotonicMs() < untilMs) await this.#pause()
  }

  #named(): { readonly pid: number; readonly startTicks: number } | undefined {
    const { directory } = this.#config
    const [pid = 0, startTicks = 0] = textOf(join(directory, 'watchdog')).split(' ').map(Number)
    const isIt = pid > 1 && isSameProcess(pid, startTicks) && argumentsOf(pid).includes(directory)
    return isIt ? { pid, startTicks } : undefined
  }

  async #start(): Promise<void> {
    const { directory, command } = this.#config
    const { clock, log, place } = this.#parts
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const [program, ...words] = command
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }
    const child = spawn(program, [...words, directory], { detached: true, stdio: 'ignore', cwd: '/', env })
    let failure: string | undefined
    child.once('error', (e) => {
      failure = `${e.message}; install it with apt-get install perl-base`
    })
    child.once('exit', (code, signal) => {
      failure ??= `it ended with ${code ?? signal}`
    })
    child.unref()
    const untilMs = clock.monotonicMs() + patienceMs
    if (child.pid !== undefined) await place?.(child.pid)
    while (this.pid === undefined) {
      if (failure === undefined && clock.monotonicMs() > untilMs) failure = 'it did not begin in time'
      // One whose last lease went meanwhile has done its work.
      if (failure === 'it ended with 0') break
      if (failure !== undefined) throw unavailable(failure)
      await this.#pause()
    }
    log.info({ pid: child.pid ?? 0 }, 'lease.watchdog_started')
  }

  #pause(): Promise<void> {
    return this.#parts.clock.sleep(lookMs, new AbortController().signal)
  }
}

const unavailable = (why: string): Fault =>
  new Fault('unavailable', `the watchdog of leases cannot be started, so no task with a lease can run here: ${why}`, {
    reason: 'lease_refused'
  })
