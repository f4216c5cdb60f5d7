import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Isolator, IsolatorRequest } from '../isolators/isolator.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { AttemptObjects } from './attempt-objects.ts'
import { cleanUpAll } from './prepare.ts'

interface Parts {
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  readonly objects: AttemptObjects
  readonly clock: Clock
  readonly log: Log
}

const againMs = { first: 1_000, most: 60_000 } as const

/** Takes down what is left of a container, and tries again what an isolator could not take down. */
export class AttemptRemoval {
  readonly #parts: Parts
  readonly #bare: () => IsolatorRequest
  readonly #over = new AbortController()
  /** One clearing at a time. */
  #clearing: Promise<unknown> = Promise.resolve()
  #clean = true

  /** `bare` names what is on record of the container at the moment. */
  constructor(parts: Parts, bare: () => IsolatorRequest) {
    this.#parts = parts
    this.#bare = bare
  }

  /** Nothing was left after the last clearing. */
  get clean(): boolean {
    return this.#clean
  }

  /**
   * Repeatable. What the ledger must know first is awaited before the last step. Resolves with false where something could not be
   * removed: its rows then stay.
   */
  async clear(told: Promise<void> = Promise.resolve()): Promise<boolean> {
    const clearing = this.#clearing.then(() => this.#clear(told))
    this.#clearing = clearing.catch(() => undefined) // its caller hears of it
    this.#clean = await clearing
    return this.#clean
  }

  /** Clears again and again, until nothing is left or `giveUp`. */
  async clearLater(): Promise<void> {
    const { signal } = this.#over
    for (let pauseMs: number = againMs.first; !this.#clean; pauseMs = Math.min(againMs.most, 2 * pauseMs)) {
      await this.#parts.clock.sleep(pauseMs, signal).catch(() => undefined) // given up
      if (signal.aborted) return
      await this.clear().catch(() => undefined) // the ledger was closed: the next agent goes on
    }
  }

  /** Nobody asks for the container any more: one last time, and what then is left fsck finds. */
  async giveUp(): Promise<void> {
    this.#over.abort()
    if (!this.#clean) await this.clear()
  }

  async #clear(told: Promise<void>): Promise<boolean> {
    const { runtime, isolators, objects, log } = this.#parts
    const bare = this.#bare()
    await runtime.kill(bare.containerId)
    await runtime.remove(bare.containerId, new AbortController().signal)
    const clean = await cleanUpAll([...isolators].reverse(), bare, log)
    await told
    runtime.dropExit(bare.containerId)
    if (clean) await objects.release()
    return clean
  }
}
