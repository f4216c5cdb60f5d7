import { setMaxListeners } from 'node:events'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'

/** Work that nobody waits for while it runs: its Faults are logged, its end is awaited at stop, broken invariants end the process. */
export class Background {
  readonly #log: Log
  readonly #running = new Set<Promise<void>>()
  readonly #closing = new AbortController()

  constructor(log: Log) {
    this.#log = log
    setMaxListeners(0, this.#closing.signal) // each agent that is away waits on it
  }

  get signal(): AbortSignal {
    return this.#closing.signal
  }

  run(event: string, work: (signal: AbortSignal) => Promise<void>): void {
    const { signal } = this.#closing
    if (signal.aborted) return
    const running: Promise<void> = work(signal)
      .catch((e: unknown) => {
        if (signal.aborted || isCancelled(e)) return
        if (!isFault(e)) throw e
        this.#log.warn({ code: e.code, err: e.message }, event)
      })
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#running)
  }
}

export const isCancelled = (e: unknown): boolean => e instanceof Error && e.name === 'AbortError'
