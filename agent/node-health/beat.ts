import type { Clock } from '../../base/clock.ts'
import type { Service } from '../../base/service.ts'
import { ClockWatch } from './checks/clock.ts'

const beatMs = 1_000
const latenessKept = 300

/** Wakes once a second and notes how late it is, and whether the wall clock has jumped. Costs microseconds, writes nothing. */
export class Beat implements Service {
  readonly name = 'beat'
  readonly clockWatch = new ClockWatch()
  readonly #clock: Clock
  readonly #stop = new AbortController()
  readonly #lateness: number[] = []
  #loop: Promise<void> = Promise.resolve()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** By how many ms each of the last five minutes' beats came too late, the newest last. */
  get latenessMs(): readonly number[] {
    return this.#lateness
  }

  async start(): Promise<void> {
    this.#loop = this.#beat()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  async #beat(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.clockWatch.look(this.#clock.wallMs(), this.#clock.monotonicMs())
      const dueMs = this.#clock.monotonicMs() + beatMs
      await this.#clock.sleep(beatMs, signal).catch(() => undefined) // stopping
      this.#lateness.push(Math.max(0, this.#clock.monotonicMs() - dueMs))
      if (this.#lateness.length > latenessKept) this.#lateness.shift()
    }
  }
}
