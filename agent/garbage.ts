import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'

interface Parts {
  readonly images: {
    collect(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<{ readonly bytes: number; readonly layers: number }>
  }
  /** Digests of the images that containers of this agent run from. */
  readonly inUse: () => ReadonlySet<string>
  readonly clock: Clock
  readonly log: Log
}

/** Collects layers that no image and no container needs any more, every so often: replaced images, old views of the host. */
export class Garbage implements Service {
  readonly name = 'garbage'
  readonly #parts: Parts
  readonly #everyMs: number
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined

  constructor(parts: Parts, config: { readonly everyMs: number }) {
    this.#parts = parts
    this.#everyMs = config.everyMs
  }

  async start(): Promise<void> {
    this.#loop = this.#collectAgain()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  async #collectAgain(): Promise<void> {
    const { images, inUse, clock, log } = this.#parts
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await clock.sleep(this.#everyMs, signal)
        const { layers, bytes } = await images.collect(inUse(), signal)
        if (layers > 0) log.info({ layers, bytes }, 'images.collected')
      } catch (e) {
        if (signal.aborted) return
        if (!isFault(e)) throw e
        log.warn({ code: e.code, fault: e.message }, 'images.not_collected')
      }
    }
  }
}
